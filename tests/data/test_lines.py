import gzip
import io
from pathlib import Path
from types import SimpleNamespace

import pytest

from modelscope_plugin.data.lines import MAX_LINE_BYTES, read_lines
from modelscope_plugin.errors import DataFileError, InputError, MissingFileError

LINES = ["第一行：大鹏", "", "第三行 😀"]
NUMBERED = list(enumerate(LINES, 1))


def written(path: Path, data: bytes) -> Path:
    path.write_bytes(data)
    return path


def test_read_lines_numbers_lines_from_one(tmp_path: Path) -> None:
    assert list(read_lines(written(tmp_path / "a.txt", "\n".join(LINES).encode()))) == NUMBERED


def test_read_lines_takes_windows_line_breaks(tmp_path: Path) -> None:
    assert list(read_lines(written(tmp_path / "a.txt", "\r\n".join(LINES).encode()))) == NUMBERED


def test_read_lines_does_not_break_at_unicode_separators(tmp_path: Path) -> None:
    line = "上\u2028下\x85左\x0b右"
    assert list(read_lines(written(tmp_path / "a.txt", line.encode()))) == [(1, line)]


def test_read_lines_of_an_empty_file_gives_nothing(tmp_path: Path) -> None:
    assert list(read_lines(written(tmp_path / "a.txt", b""))) == []


def test_read_lines_drops_a_byte_order_mark(tmp_path: Path) -> None:
    assert list(read_lines(written(tmp_path / "a.txt", "\n".join(LINES).encode("utf-8-sig")))) == NUMBERED


def test_read_lines_drops_a_byte_order_mark_in_gb18030(tmp_path: Path) -> None:
    path = written(tmp_path / "a.txt", ("\ufeff" + "\n".join(LINES)).encode("gb18030"))
    assert list(read_lines(path, "gb18030")) == NUMBERED


def test_read_lines_keeps_a_byte_order_mark_further_down(tmp_path: Path) -> None:
    assert list(read_lines(written(tmp_path / "a.txt", "一\n\ufeff二".encode()))) == [(1, "一"), (2, "\ufeff二")]


def test_read_lines_reads_gb18030(tmp_path: Path) -> None:
    path = written(tmp_path / "a.txt", "\n".join(LINES).encode("gb18030"))
    assert list(read_lines(path, "gb18030")) == NUMBERED


def test_read_lines_unpacks_gzip_told_by_content(tmp_path: Path) -> None:
    assert list(read_lines(written(tmp_path / "a.txt", gzip.compress("\n".join(LINES).encode())))) == NUMBERED


def test_read_lines_reads_a_plain_file_named_gz(tmp_path: Path) -> None:
    assert list(read_lines(written(tmp_path / "a.txt.gz", "\n".join(LINES).encode()))) == NUMBERED


def test_read_lines_reads_gzip_of_several_members(tmp_path: Path) -> None:
    path = written(tmp_path / "a.gz", gzip.compress("一\n".encode()) + gzip.compress("二\n".encode()))
    assert list(read_lines(path)) == [(1, "一"), (2, "二")]


def test_read_lines_takes_a_path_as_text(tmp_path: Path) -> None:
    assert list(read_lines(str(written(tmp_path / "a.txt", b"a\n")))) == [(1, "a")]


def test_read_lines_reads_standard_input(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", SimpleNamespace(buffer=io.BytesIO("大鹏\n".encode())))
    assert list(read_lines("-")) == [(1, "大鹏")]


def test_read_lines_names_file_and_line_of_a_wrong_encoding(tmp_path: Path) -> None:
    path = written(tmp_path / "a.txt", "好\n".encode() + "大鹏".encode("gb18030"))
    with pytest.raises(DataFileError, match=r"a\.txt:2: not utf-8 text"):
        list(read_lines(path))


@pytest.mark.parametrize("encoding", ["utf-9", "", "大鹏"])
def test_read_lines_refuses_an_unknown_encoding(tmp_path: Path, encoding: str) -> None:
    with pytest.raises(InputError, match="unknown encoding"):
        list(read_lines(written(tmp_path / "a.txt", b"a"), encoding))


@pytest.mark.parametrize("encoding", ["hex", "base64", "rot13", "zlib"])
def test_read_lines_refuses_a_codec_that_is_no_text_encoding(tmp_path: Path, encoding: str) -> None:
    with pytest.raises(InputError):
        list(read_lines(written(tmp_path / "a.txt", b"a"), encoding))


@pytest.mark.parametrize("encoding", ["utf-16", "UTF_16_LE", "utf-32", "utf-32-be"])
def test_read_lines_refuses_wide_encodings(tmp_path: Path, encoding: str) -> None:
    with pytest.raises(InputError, match="save the file as UTF-8"):
        list(read_lines(written(tmp_path / "a.txt", b"a"), encoding))


@pytest.mark.parametrize("kept", [2, 5, 12, 60, -9, -4])
def test_read_lines_complains_about_truncated_gzip(tmp_path: Path, kept: int) -> None:
    packed = gzip.compress("".join(f"第{number}行\n" for number in range(500)).encode())
    with pytest.raises(DataFileError, match=r"a\.gz:\d+: damaged gzip file"):
        list(read_lines(written(tmp_path / "a.gz", packed[:kept])))


@pytest.mark.parametrize("position", [2, 12, 40, -8, -1])
def test_read_lines_complains_about_damaged_gzip(tmp_path: Path, position: int) -> None:
    packed = bytearray(gzip.compress("".join(f"第{number}行\n" for number in range(500)).encode()))
    packed[position] ^= 0xFF
    with pytest.raises(DataFileError, match=r"a\.gz:\d+: "):
        list(read_lines(written(tmp_path / "a.gz", bytes(packed))))


def test_read_lines_complains_about_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(MissingFileError, match=r"no file .*none\.txt"):
        list(read_lines(tmp_path / "none.txt"))


def test_read_lines_complains_about_a_folder(tmp_path: Path) -> None:
    with pytest.raises(MissingFileError, match="is a folder"):
        list(read_lines(tmp_path))


def test_read_lines_complains_about_a_path_below_a_file(tmp_path: Path) -> None:
    with pytest.raises(MissingFileError):
        list(read_lines(written(tmp_path / "a.txt", b"a") / "b.txt"))


def test_read_lines_streams_what_comes_before_a_broken_line(tmp_path: Path) -> None:
    lines = read_lines(written(tmp_path / "a.txt", b"a\n\xff\n"))
    assert next(lines) == (1, "a")


def test_read_lines_refuses_a_line_that_would_fill_the_memory(tmp_path: Path) -> None:
    packed = gzip.compress(b"a\n" + bytes(MAX_LINE_BYTES + 1), compresslevel=1)
    assert len(packed) < 1 << 20
    lines = read_lines(written(tmp_path / "a.gz", packed))
    assert next(lines) == (1, "a")
    with pytest.raises(DataFileError, match=r"a\.gz:2: the line has more than 64 MiB"):
        next(lines)


def test_read_lines_splits_at_carriage_returns_of_old_files(tmp_path: Path) -> None:
    path = written(tmp_path / "a.txt", "\r".join(["一"] * 70_000).encode() + b"\r\n" + "二\n三".encode())
    lines = list(read_lines(path))
    assert [line for _, line in lines] == ["一"] * 70_000 + ["二", "三"]
    assert [number for number, _ in lines] == [*range(1, 70_003)]


def test_read_lines_refuses_a_long_line_of_an_old_file(tmp_path: Path) -> None:
    with pytest.raises(DataFileError, match=r"a\.gz:2: the line has more than 64 MiB"):
        list(read_lines(written(tmp_path / "a.gz", gzip.compress(b"a\r" + bytes(MAX_LINE_BYTES + 1), 1))))


def test_read_lines_suggests_gb18030(tmp_path: Path) -> None:
    with pytest.raises(DataFileError, match=r"a\.txt:1: not utf-8 text .*--encoding gb18030"):
        list(read_lines(written(tmp_path / "a.txt", "大鹏\n".encode("gbk"))))


@pytest.mark.parametrize(
    ("beginning", "message"),
    [
        (b"PK\x03\x04", "Excel workbook .* save the table as CSV"),
        (b"\xd0\xcf\x11\xe0", "old Excel workbook"),
        (b"\xff\xfei\x00", "UTF-16 text; save the file as UTF-8"),
        (b"PAR1\x15", "Parquet"),
        (b"BZh91AY&SY", "bzip2"),
    ],
)
def test_read_lines_names_files_that_are_no_text(tmp_path: Path, beginning: bytes, message: str) -> None:
    with pytest.raises(DataFileError, match=message):
        list(read_lines(written(tmp_path / "a.csv", beginning + b"\n\x00")))


@pytest.mark.parametrize("path", ["a\0b", "a\0b.csv", "\0"])
def test_read_lines_complains_about_a_nul_in_a_path(path: str) -> None:
    with pytest.raises(MissingFileError):
        list(read_lines(path))


def test_read_lines_refuses_a_nul_in_an_encoding(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="unknown encoding"):
        list(read_lines(written(tmp_path / "a.txt", b"a"), "utf\0"))
