"""From a page's bytes to text: the charset that was declared, where it fits, else the one detected.

The order is that of the WHATWG encoding sniffing algorithm: byte order mark, HTTP header, `<meta>`
within the first 1,024 bytes, then detection (resiliparse, a fast port of uchardet's idea).
A declared UTF-8 that does not decode is overruled by detection: servers announce it by default.
"""

import re

DETECTED_BYTES = 1 << 16  # enough to tell, and detection costs more than all the rest of reading
META = re.compile(rb"<meta[^>]+charset\s*=\s*[\"']?\s*([\w.:-]+)", re.I)
MARKS = (
    (b"\xef\xbb\xbf", "utf-8"),
    (b"\xff\xfe\0\0", "utf-32-le"),  # no encoding of the web, but of files; in UTF-16 the text would begin with U+0000
    (b"\xff\xfe", "utf-16-le"),
    (b"\xfe\xff", "utf-16-be"),
)


def decode(data: bytes, declared: str | None = None, html: bool = True) -> tuple[str, str]:
    """(text, charset used) of a page; undecodable bytes become U+FFFD, nothing raises."""
    from resiliparse.parse.encoding import bytes_to_str, detect_encoding, map_encoding_to_html5

    for mark, name in MARKS:
        if data.startswith(mark):
            return data[len(mark) :].decode(name, "replace"), name
    names = [declared] if declared else []
    if html and (found := META.search(data[:1024])):
        names.append(found[1].decode("ascii", "replace"))
    for name in names:
        charset = map_encoding_to_html5(name, fallback_utf8=False)
        if charset is None:
            continue
        try:
            return data.decode(charset), charset
        except (UnicodeDecodeError, LookupError):
            if charset != "utf-8" or len(data) < 64:
                return bytes_to_str(data, charset), charset
    try:
        return data.decode("utf-8"), "utf-8"
    except UnicodeDecodeError:
        charset = detect_encoding(data[:DETECTED_BYTES], html5_compatible=True, from_html_meta=False) or "utf-8"
        return bytes_to_str(data, charset), charset
