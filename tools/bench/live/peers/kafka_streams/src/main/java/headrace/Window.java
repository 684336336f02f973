package headrace;

import java.io.ByteArrayOutputStream;
import java.nio.ByteBuffer;
import java.util.Arrays;
import java.util.zip.CRC32;

/**
 * A user's window: the same rules and the same bytes as headrace's, without replays and without
 * types that hide an item or do not enter.
 *
 * <p>Behaviours and remembered events stay encoded: {@link Entries} knows where each begins and its
 * time. So an event costs no object for each old behaviour.
 */
final class Window {
    static final int MAX_EVENTS = 50;
    static final int MAX_RECENT = 100;
    static final int MAX_SEEN = 500;
    static final long MAX_AGE_MS = 30L * 86_400_000;
    static final long LATENESS_MS = 86_400_000;

    private long revision;
    private long newestTs = -1;
    private final Entries items;
    private final Entries recent;
    private byte[] floor; // an entry of `recent`, or null
    private byte[] seen = new byte[0];
    private Event trigger;
    private long triggerOffset;

    enum Outcome {ACCEPTED, DUPLICATE, LATE}

    /** Encoded list entries in order; each is an array of msgpack that begins with a time and an id. */
    private static final class Entries {
        byte[][] source;
        int[] at;
        int[] end;
        long[] ts;
        int n;

        Entries(int room) {
            source = new byte[room][];
            at = new int[room];
            end = new int[room];
            ts = new long[room];
        }

        void add(int place, byte[] bytes, int from, int to, long time) {
            int behind = n - place;
            System.arraycopy(source, place, source, place + 1, behind);
            System.arraycopy(at, place, at, place + 1, behind);
            System.arraycopy(end, place, end, place + 1, behind);
            System.arraycopy(ts, place, ts, place + 1, behind);
            source[place] = bytes;
            at[place] = from;
            end[place] = to;
            ts[place] = time;
            n++;
        }

        void removeFirst() {
            n--;
            System.arraycopy(source, 1, source, 0, n);
            System.arraycopy(at, 1, at, 0, n);
            System.arraycopy(end, 1, end, 0, n);
            System.arraycopy(ts, 1, ts, 0, n);
        }

        boolean has(byte[] id, int idFrom, int idTo) {
            for (int i = 0; i < n; i++) {
                if (sameId(source[i], at[i] + 10, id, idFrom, idTo)) {
                    return true;
                }
            }
            return false;
        }

        /** Where an entry with this time and id belongs. */
        int placeOf(long time, byte[] id, int idFrom, int idTo) {
            int i = n;
            while (i > 0 && compare(time, id, idFrom, idTo, ts[i - 1], source[i - 1], at[i - 1]) < 0) {
                i--;
            }
            return i;
        }

        private static boolean sameId(byte[] entry, int idAt, byte[] id, int idFrom, int idTo) {
            int size = idTo - idFrom;
            if (Msgpack.stringSize(entry, idAt) != size) {
                return false;
            }
            int from = Msgpack.stringBegin(entry, idAt);
            return Arrays.equals(entry, from, from + size, id, idFrom, idTo);
        }
    }

    private static int compare(long ts, byte[] id, int from, int to, long otherTs, byte[] other, int at) {
        if (ts != otherTs) {
            return Long.compare(ts, otherTs);
        }
        int begin = Msgpack.stringBegin(other, at + 10);
        return Arrays.compareUnsigned(id, from, to, other, begin, begin + Msgpack.stringSize(other, at + 10));
    }

    Window() {
        items = new Entries(MAX_EVENTS + 1);
        recent = new Entries(MAX_RECENT + 1);
    }

    Window(byte[] value) {
        this();
        Msgpack in = new Msgpack(value);
        int fields = in.mapSize();
        for (int i = 0; i < fields; i++) {
            String name = in.string();
            switch (name) {
                case "v" -> in.integer();
                case "revision" -> revision = in.integer();
                case "newest_ts" -> newestTs = in.integer();
                case "items" -> readEntries(in, items, 3);
                case "trigger" -> in.skip();
                case "recent" -> readEntries(in, recent, 1);
                case "floor" -> {
                    int from = in.at;
                    in.skip();
                    floor = Arrays.copyOfRange(value, from, in.at);
                }
                case "seen" -> seen = in.binary();
                default -> in.skip();
            }
        }
    }

    private static void readEntries(Msgpack in, Entries entries, int texts) {
        int size = in.arraySize();
        for (int i = 0; i < size; i++) {
            int from = in.at;
            in.at += 1;
            long ts = in.integer();
            for (int j = 0; j < texts; j++) {
                in.skipString();
            }
            entries.add(entries.n, in.bytes, from, in.at, ts);
        }
    }

    Outcome absorb(Event event, long offset) {
        byte[] id = event.eventId;
        if (items.has(id, 0, id.length) || recent.has(id, 0, id.length)) {
            return Outcome.DUPLICATE;
        }
        if (event.ts < newestTs - LATENESS_MS || isForgotten(event)) {
            return Outcome.LATE;
        }
        byte[] entry = Msgpack.behaviour(event);
        items.add(items.placeOf(event.ts, id, 0, id.length), entry, 0, entry.length, event.ts);
        newestTs = Math.max(newestTs, event.ts);
        revision++;
        trigger = event;
        triggerOffset = offset;
        while (items.n > MAX_EVENTS || items.ts[0] < newestTs - MAX_AGE_MS) {
            leave();
        }
        return Outcome.ACCEPTED;
    }

    private boolean isForgotten(Event event) {
        return floor != null
            && compare(event.ts, event.eventId, 0, event.eventId.length, time(floor), floor, 0) <= 0;
    }

    private static long time(byte[] entry) {
        return ByteBuffer.wrap(entry, 2, 8).getLong();
    }

    private void leave() {
        byte[] from = items.source[0];
        int at = items.at[0];
        int idBegin = Msgpack.stringBegin(from, at + 10);
        int idEnd = idBegin + Msgpack.stringSize(from, at + 10);
        int itemBegin = Msgpack.stringBegin(from, idEnd);
        CRC32 crc = new CRC32();
        crc.update(from, itemBegin, Msgpack.stringSize(from, idEnd));
        markSeen((int) crc.getValue());
        byte[] entry = Arrays.copyOfRange(from, at, idEnd);
        entry[0] = (byte) 0x92;
        long ts = items.ts[0];
        items.removeFirst();
        recent.add(recent.placeOf(ts, from, idBegin, idEnd), entry, 0, entry.length, ts);
        while (recent.n > 0 && (recent.n > MAX_RECENT || recent.ts[0] < newestTs - LATENESS_MS)) {
            forget();
        }
    }

    private void markSeen(int mark) {
        int kept = Math.min(seen.length, 4 * (MAX_SEEN - 1));
        byte[] marks = Arrays.copyOfRange(seen, seen.length - kept, seen.length + 4);
        for (int i = 0; i < 4; i++) {
            marks[kept + i] = (byte) (mark >>> 8 * i);
        }
        seen = marks;
    }

    private void forget() {
        if (recent.ts[0] >= newestTs - LATENESS_MS) {
            byte[] key = Arrays.copyOfRange(recent.source[0], recent.at[0], recent.end[0]);
            int begin = Msgpack.stringBegin(key, 10);
            if (floor == null || compare(recent.ts[0], key, begin, key.length, time(floor), floor, 0) > 0) {
                floor = key;
            }
        }
        recent.removeFirst();
    }

    byte[] encode() {
        ByteArrayOutputStream out = new ByteArrayOutputStream(4096);
        int fields = 5 + (recent.n > 0 ? 1 : 0) + (floor != null ? 1 : 0) + (seen.length > 0 ? 1 : 0);
        out.write(0x80 | fields);
        Msgpack.put(out, "v");
        Msgpack.put(out, 1);
        Msgpack.put(out, "revision");
        Msgpack.put(out, revision);
        Msgpack.put(out, "newest_ts");
        Msgpack.put(out, newestTs);
        Msgpack.put(out, "items");
        putEntries(out, items);
        Msgpack.put(out, "trigger");
        out.write(0x93);
        Msgpack.put(out, trigger.eventId);
        Msgpack.put(out, trigger.ts);
        Msgpack.put(out, triggerOffset);
        if (recent.n > 0) {
            Msgpack.put(out, "recent");
            putEntries(out, recent);
        }
        if (floor != null) {
            Msgpack.put(out, "floor");
            out.writeBytes(floor);
        }
        if (seen.length > 0) {
            Msgpack.put(out, "seen");
            Msgpack.putBinary(out, seen);
        }
        return out.toByteArray();
    }

    private static void putEntries(ByteArrayOutputStream out, Entries entries) {
        Msgpack.putArraySize(out, entries.n);
        for (int i = 0; i < entries.n; i++) {
            out.write(entries.source[i], entries.at[i], entries.end[i] - entries.at[i]);
        }
    }
}
