"""The newest windows in bounded memory."""

from __future__ import annotations

from streams.server.page.topics.windows import NewestWindows


def test_the_longest_untouched_window_is_dropped_first() -> None:
    """Keys and values count; a key that is put again is new."""
    kept = NewestWindows(max_bytes=30)
    for key in (b"a", b"b", b"c"):
        kept.put(key, b"123456789")
    kept.put(b"a", b"987654321")
    kept.put(b"d", b"123456789")
    assert [kept.get(key) for key in (b"a", b"b", b"c", b"d")] == [b"987654321", None, b"123456789", b"123456789"]
    assert kept.newest_keys(2) == [b"d", b"a"]


def test_a_removal_frees_its_room() -> None:
    """A forgotten user is not shown again."""
    kept = NewestWindows(max_bytes=20)
    kept.put(b"a", b"123456789")
    kept.put(b"a", None)
    kept.put(b"b", b"123456789")
    kept.put(b"c", b"123456789")
    assert kept.get(b"a") is None and kept.newest_keys(9) == [b"c", b"b"]


def test_a_value_above_the_bound_is_not_kept() -> None:
    """Memory stays bounded whatever comes."""
    kept = NewestWindows(max_bytes=5)
    kept.put(b"a", b"123456789")
    assert kept.get(b"a") is None
    kept.put(b"b", b"1234")
    assert kept.get(b"b") == b"1234"
