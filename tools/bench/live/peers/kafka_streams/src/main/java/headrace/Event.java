package headrace;

import java.nio.charset.StandardCharsets;
import java.util.Arrays;
import java.util.Set;

/** One shop event, decoded from msgpack and checked as headrace's contract says. JSON is refused. */
final class Event {
    static final int MAX_BYTES = 65_536;
    static final int MAX_ID_LENGTH = 128;
    static final long MIN_TS = 631_152_000_000L;
    static final long MAX_TS = 253_402_300_799_999L;
    static final long MAX_SKEW_MS = 300_000;
    static final Set<String> TYPES = Set.of("click", "view", "purchase");

    byte[] eventId;
    byte[] userId;
    byte[] itemId;
    byte[] type;
    long ts = -1;

    /** Thrown with the reason of the contract for a record that is not an event. */
    static final class Refused extends Exception {
        Refused(String reason) {
            super(reason, null, false, false);
        }
    }

    static Event read(byte[] key, byte[] value, long nowMs) throws Refused {
        if (value == null || value.length == 0) {
            throw new Refused("empty");
        }
        if (value.length > MAX_BYTES) {
            throw new Refused("too-large");
        }
        Event event = new Event();
        try {
            event.readFields(new Msgpack(value));
        } catch (Msgpack.Malformed | IndexOutOfBoundsException e) {
            throw new Refused("malformed");
        }
        event.check(key, nowMs);
        return event;
    }

    private void readFields(Msgpack in) {
        int fields = in.mapSize();
        for (int i = 0; i < fields; i++) {
            switch (in.string()) {
                case "event_id" -> eventId = in.stringBytes();
                case "user_id" -> userId = in.stringBytes();
                case "item_id" -> itemId = in.stringBytes();
                case "type" -> type = in.stringBytes();
                case "ts" -> ts = in.integer();
                default -> in.skip();
            }
        }
    }

    private void check(byte[] key, long nowMs) throws Refused {
        if (eventId == null || userId == null || itemId == null || type == null || ts == -1) {
            throw new Refused("missing");
        }
        checkLength(eventId);
        checkLength(userId);
        checkLength(itemId);
        if (!TYPES.contains(new String(type, StandardCharsets.UTF_8))) {
            throw new Refused("value");
        }
        if (ts < MIN_TS || ts > MAX_TS) {
            throw new Refused("range");
        }
        if (ts > nowMs + MAX_SKEW_MS) {
            throw new Refused("future");
        }
        if (!Arrays.equals(key, userId)) {
            throw new Refused("key");
        }
    }

    private static void checkLength(byte[] id) throws Refused {
        if (id.length == 0) {
            throw new Refused("length");
        }
        if (id.length > MAX_ID_LENGTH && new String(id, StandardCharsets.UTF_8).length() > MAX_ID_LENGTH) {
            throw new Refused("length");
        }
    }
}
