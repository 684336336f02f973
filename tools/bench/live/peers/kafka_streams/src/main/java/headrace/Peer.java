package headrace;

import java.lang.management.ManagementFactory;
import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.util.Map;
import java.util.Properties;
import org.apache.kafka.clients.admin.Admin;
import org.apache.kafka.clients.consumer.OffsetAndMetadata;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.header.internals.RecordHeaders;
import org.apache.kafka.common.serialization.Serdes;
import org.apache.kafka.streams.KafkaStreams;
import org.apache.kafka.streams.StreamsConfig;
import org.apache.kafka.streams.Topology;
import org.apache.kafka.streams.processor.api.Processor;
import org.apache.kafka.streams.processor.api.ProcessorContext;
import org.apache.kafka.streams.processor.api.Record;
import org.apache.kafka.streams.state.KeyValueStore;
import org.apache.kafka.streams.state.Stores;

/**
 * The sequencer's job as a Kafka Streams topology: events in, windows in a cached store in memory
 * with a changelog, rejects to a topic, four counts.
 *
 * <p>Arguments: broker, topic of events, topic of rejects, application id, state folder, events in
 * all, events before the clock starts, commit interval in ms. Prints one JSON line. The clock ends
 * when the offsets of all events are committed, so all windows are in the changelog.
 */
public final class Peer {
    static final String STORE = "windows";

    /** Counts of the one stream thread; the main thread reads {@code read} to see the end. */
    static final class Counts {
        volatile long read;
        long accepted;
        long duplicate;
        long late;
        long rejected;
        volatile long startedNs;
        volatile long startedCpuNs;
    }

    static final class Sequence implements Processor<byte[], byte[], byte[], byte[]> {
        private final Counts counts;
        private final long warm;
        private final long total;
        private ProcessorContext<byte[], byte[]> context;
        private KeyValueStore<byte[], byte[]> windows;

        Sequence(Counts counts, long warm, long total) {
            this.counts = counts;
            this.warm = warm;
            this.total = total;
        }

        @Override
        public void init(ProcessorContext<byte[], byte[]> context) {
            this.context = context;
            windows = context.getStateStore(STORE);
        }

        @Override
        public void process(Record<byte[], byte[]> record) {
            try {
                absorb(Event.read(record.key(), record.value(), context.currentSystemTimeMs()), record.key());
            } catch (Event.Refused refused) {
                counts.rejected++;
                RecordHeaders headers = new RecordHeaders();
                headers.add("reason", refused.getMessage().getBytes(StandardCharsets.UTF_8));
                context.forward(record.withHeaders(headers));
            }
            long read = counts.read + 1;
            counts.read = read;
            if (read == warm) {
                counts.startedCpuNs = cpuNs();
                counts.startedNs = System.nanoTime();
            }
            if (read == total) {
                context.commit();
            }
        }

        private void absorb(Event event, byte[] key) {
            byte[] held = windows.get(key);
            Window window = held == null ? new Window() : new Window(held);
            switch (window.absorb(event, context.recordMetadata().orElseThrow().offset())) {
                case ACCEPTED -> {
                    counts.accepted++;
                    windows.put(key, window.encode());
                }
                case DUPLICATE -> counts.duplicate++;
                case LATE -> counts.late++;
            }
        }
    }

    public static void main(String[] args) throws Exception {
        String broker = args[0];
        String events = args[1];
        String rejects = args[2];
        String application = args[3];
        long total = Long.parseLong(args[5]);
        long warm = Long.parseLong(args[6]);
        Counts counts = new Counts();
        Topology topology = new Topology();
        topology.addSource("events", Serdes.ByteArray().deserializer(), Serdes.ByteArray().deserializer(), events);
        topology.addProcessor("sequence", () -> new Sequence(counts, warm, total), "events");
        topology.addStateStore(
            Stores.keyValueStoreBuilder(Stores.inMemoryKeyValueStore(STORE), Serdes.ByteArray(), Serdes.ByteArray())
                .withCachingEnabled(),
            "sequence");
        topology.addSink("rejects", rejects, Serdes.ByteArray().serializer(), Serdes.ByteArray().serializer(), "sequence");
        try (KafkaStreams streams = new KafkaStreams(topology, settings(broker, application, args[4], args[7]))) {
            streams.start();
            awaitCommits(broker, application, total, counts);
            long wallNs = System.nanoTime() - counts.startedNs;
            long cpuNs = cpuNs() - counts.startedCpuNs;
            System.out.println(line(counts, total - warm, wallNs, cpuNs));
            System.out.flush();
            streams.close(Duration.ofSeconds(10));
        }
    }

    private static Properties settings(String broker, String application, String folder, String commitMs) {
        Properties settings = new Properties();
        settings.put(StreamsConfig.BOOTSTRAP_SERVERS_CONFIG, broker);
        settings.put(StreamsConfig.APPLICATION_ID_CONFIG, application);
        settings.put(StreamsConfig.STATE_DIR_CONFIG, folder);
        settings.put(StreamsConfig.NUM_STREAM_THREADS_CONFIG, 1);
        settings.put(StreamsConfig.COMMIT_INTERVAL_MS_CONFIG, commitMs);
        settings.put(StreamsConfig.STATESTORE_CACHE_MAX_BYTES_CONFIG, 256L << 20);
        settings.put(StreamsConfig.METRICS_RECORDING_LEVEL_CONFIG, "INFO");
        settings.put(StreamsConfig.consumerPrefix("auto.offset.reset"), "earliest");
        settings.put(StreamsConfig.consumerPrefix("max.poll.records"), 5_000);
        settings.put(StreamsConfig.producerPrefix("batch.size"), 900_000);
        settings.put(StreamsConfig.producerPrefix("linger.ms"), 10);
        settings.put(StreamsConfig.producerPrefix("acks"), "all");
        return settings;
    }

    private static void awaitCommits(String broker, String application, long total, Counts counts) throws Exception {
        try (Admin admin = Admin.create(Map.of("bootstrap.servers", broker))) {
            while (counts.read < total) {
                Thread.sleep(5);
            }
            long committed = 0;
            while (committed < total) {
                Thread.sleep(5);
                Map<TopicPartition, OffsetAndMetadata> offsets =
                    admin.listConsumerGroupOffsets(application).partitionsToOffsetAndMetadata().get();
                committed = offsets.values().stream().mapToLong(OffsetAndMetadata::offset).sum();
            }
        }
    }

    private static long cpuNs() {
        var system = (com.sun.management.OperatingSystemMXBean) ManagementFactory.getOperatingSystemMXBean();
        return system.getProcessCpuTime();
    }

    private static String line(Counts counts, long measured, long wallNs, long cpuNs) {
        return String.format(
            "{\"events_per_s\": %.1f, \"cpu_us_per_event\": %.4f, \"accepted\": %d, \"duplicate\": %d, "
                + "\"late\": %d, \"rejected\": %d}",
            measured * 1e9 / wallNs, cpuNs / 1e3 / measured,
            counts.accepted, counts.duplicate, counts.late, counts.rejected);
    }
}
