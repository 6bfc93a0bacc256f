"""Token numbers become text just as the tokeniser's file says."""

from __future__ import annotations

import pytest

from rpcb_models.asr.tokens import Tokens

SPACE = "▁".encode()


def stored(*pieces: bytes) -> bytes:
    return b"".join(bytes([len(piece)]) + piece for piece in pieces)


def test_pieces_are_joined_and_the_mark_is_a_space() -> None:
    tokens = Tokens(stored(SPACE + b"Hel", b"lo", SPACE + b"you"))
    assert tokens.text([0, 1, 2]) == "Hello you"
    assert tokens.text([]) == ""


def test_special_pieces_are_not_spoken() -> None:
    assert Tokens(stored(b"<unk>", b"<s>", b"</s>", b"a")).text([1, 3, 2, 0]) == "a"


def test_bytes_are_joined_to_characters() -> None:
    tokens = Tokens(stored(b"<0xC3>", b"<0xA9>", b"t"))
    assert tokens.text([2, 0, 1]) == "té"
    assert tokens.text([0, 2]) == "\ufffdt"


def test_a_lone_angle_bracket_is_spoken() -> None:
    assert Tokens(stored(b"<", b"<>")).text([0, 1]) == "<<>"


def test_a_piece_of_128_bytes_or_more_has_a_length_of_two_bytes() -> None:
    piece = b"x" * 300
    tokens = Tokens(bytes([300 % 128 + 128, 300 // 128]) + piece + stored(b"", b"y"))
    assert len(tokens) == 3
    assert tokens.text([0, 1, 2]) == "x" * 300 + "y"


@pytest.mark.parametrize("blob", [b"\x02a", b"\x80", b"\x01a\x05bc"])
def test_a_file_that_ends_within_a_piece_is_refused(blob: bytes) -> None:
    with pytest.raises(ValueError, match="ends within"):
        Tokens(blob)


def test_a_character_that_is_cut_off_at_the_end_is_left_out_and_a_broken_one_within_is_marked() -> None:
    note = "♪".encode()
    tokens = Tokens(stored(SPACE + b"la", *(b"<0x%02X>" % byte for byte in note)))
    assert [tokens.text([0, 1, 2, 3][:count]) for count in range(1, 5)] == ["la", "la", "la", "la♪"]
    assert tokens.text([1, 2, 0]) == "\N{REPLACEMENT CHARACTER} la"
