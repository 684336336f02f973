package headrace;

import java.io.ByteArrayOutputStream;
import java.nio.charset.StandardCharsets;
import java.util.Arrays;

/** Reads and writes the part of msgpack that events and windows use. */
final class Msgpack {
    final byte[] bytes;
    int at;

    Msgpack(byte[] bytes) {
        this.bytes = bytes;
    }

    /** Thrown for bytes that are not what the caller expects there. */
    static final class Malformed extends RuntimeException {
        Malformed(String message) {
            super(message, null, false, false);
        }
    }

    private int next() {
        if (at >= bytes.length) {
            throw new Malformed("the value ends early");
        }
        return bytes[at++] & 0xFF;
    }

    private long big(int size) {
        long number = 0;
        for (int i = 0; i < size; i++) {
            number = number << 8 | next();
        }
        return number;
    }

    int mapSize() {
        int first = next();
        if ((first & 0xF0) == 0x80) {
            return first & 0x0F;
        }
        if (first == 0xDE) {
            return (int) big(2);
        }
        throw new Malformed("not a map");
    }

    int arraySize() {
        int first = next();
        if ((first & 0xF0) == 0x90) {
            return first & 0x0F;
        }
        if (first == 0xDC) {
            return (int) big(2);
        }
        throw new Malformed("not an array");
    }

    long integer() {
        int first = next();
        if (first < 0x80) {
            return first;
        }
        return switch (first) {
            case 0xCC -> big(1);
            case 0xCD -> big(2);
            case 0xCE -> big(4);
            case 0xCF, 0xD3 -> big(8);
            case 0xD0 -> (byte) big(1);
            case 0xD1 -> (short) big(2);
            case 0xD2 -> (int) big(4);
            default -> {
                if (first >= 0xE0) {
                    yield (byte) first;
                }
                throw new Malformed("not an integer");
            }
        };
    }

    static int stringSize(byte[] bytes, int at) {
        int first = bytes[at] & 0xFF;
        if ((first & 0xE0) == 0xA0) {
            return first & 0x1F;
        }
        if (first == 0xD9) {
            return bytes[at + 1] & 0xFF;
        }
        if (first == 0xDA) {
            return (bytes[at + 1] & 0xFF) << 8 | bytes[at + 2] & 0xFF;
        }
        throw new Malformed("not a string");
    }

    static int stringBegin(byte[] bytes, int at) {
        int first = bytes[at] & 0xFF;
        return at + (first == 0xD9 ? 2 : first == 0xDA ? 3 : 1);
    }

    void skipString() {
        at = stringBegin(bytes, at) + stringSize(bytes, at);
    }

    byte[] stringBytes() {
        if (at >= bytes.length) {
            throw new Malformed("the value ends early");
        }
        int begin = stringBegin(bytes, at);
        int end = begin + stringSize(bytes, at);
        if (end > bytes.length) {
            throw new Malformed("the value ends early");
        }
        at = end;
        return Arrays.copyOfRange(bytes, begin, end);
    }

    String string() {
        return new String(stringBytes(), StandardCharsets.UTF_8);
    }

    byte[] binary() {
        int first = next();
        int size = (int) (first == 0xC4 ? big(1) : first == 0xC5 ? big(2) : big(4));
        at += size;
        return Arrays.copyOfRange(bytes, at - size, at);
    }

    /** Skips a value of any kind. */
    void skip() {
        int first = next();
        if (first < 0x80 || first >= 0xE0 || first == 0xC0 || first == 0xC2 || first == 0xC3) {
            return;
        }
        if ((first & 0xF0) == 0x80) {
            skip(2 * (first & 0x0F));
        } else if ((first & 0xF0) == 0x90) {
            skip(first & 0x0F);
        } else if ((first & 0xE0) == 0xA0) {
            at += first & 0x1F;
        } else {
            skipLong(first);
        }
    }

    private void skip(int count) {
        for (int i = 0; i < count; i++) {
            skip();
        }
    }

    private void skipLong(int first) {
        switch (first) {
            case 0xC4, 0xD9 -> at += (int) big(1);
            case 0xC5, 0xDA -> at += (int) big(2);
            case 0xC6, 0xDB -> at += (int) big(4);
            case 0xCC, 0xD0 -> at += 1;
            case 0xCD, 0xD1 -> at += 2;
            case 0xCA, 0xCE, 0xD2 -> at += 4;
            case 0xCB, 0xCF, 0xD3 -> at += 8;
            case 0xDC -> skip((int) big(2));
            case 0xDE -> skip(2 * (int) big(2));
            default -> throw new Malformed("an unexpected type");
        }
    }

    static byte[] behaviour(Event event) {
        ByteArrayOutputStream out = new ByteArrayOutputStream(64);
        out.write(0x94);
        put(out, event.ts);
        put(out, event.eventId);
        put(out, event.itemId);
        put(out, event.type);
        return out.toByteArray();
    }

    static void put(ByteArrayOutputStream out, long number) {
        if (number < 0x80) {
            out.write((int) number);
        } else if (number <= 0xFF) {
            out.write(0xCC);
            big(out, number, 1);
        } else if (number <= 0xFFFF) {
            out.write(0xCD);
            big(out, number, 2);
        } else if (number <= 0xFFFFFFFFL) {
            out.write(0xCE);
            big(out, number, 4);
        } else {
            out.write(0xCF);
            big(out, number, 8);
        }
    }

    private static void big(ByteArrayOutputStream out, long number, int size) {
        for (int shift = 8 * (size - 1); shift >= 0; shift -= 8) {
            out.write((int) (number >>> shift));
        }
    }

    static void put(ByteArrayOutputStream out, String text) {
        put(out, text.getBytes(StandardCharsets.UTF_8));
    }

    static void put(ByteArrayOutputStream out, byte[] utf8) {
        if (utf8.length < 32) {
            out.write(0xA0 | utf8.length);
        } else if (utf8.length <= 0xFF) {
            out.write(0xD9);
            out.write(utf8.length);
        } else {
            out.write(0xDA);
            big(out, utf8.length, 2);
        }
        out.writeBytes(utf8);
    }

    static void putBinary(ByteArrayOutputStream out, byte[] data) {
        boolean isShort = data.length <= 0xFF;
        out.write(isShort ? 0xC4 : 0xC5);
        big(out, data.length, isShort ? 1 : 2);
        out.writeBytes(data);
    }

    static void putArraySize(ByteArrayOutputStream out, int size) {
        if (size < 16) {
            out.write(0x90 | size);
        } else {
            out.write(0xDC);
            big(out, size, 2);
        }
    }
}
