"""Tests of what sends announcements."""
