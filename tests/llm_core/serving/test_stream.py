"""Stop strings in a stream: however it is divided, a client gets the same text as in the whole answer."""

import json
import random

from llm_core.serving.stream import Events, StopStrings, cut


def pieces(text: str, rng: random.Random) -> list[str]:
    ends = sorted(rng.choices(range(len(text) + 1), k=rng.randrange(6)))
    return [text[a:b] for a, b in zip([0, *ends], [*ends, len(text)], strict=True)]


def test_text_that_may_begin_a_stop_string_waits() -> None:
    strings = StopStrings(["END", "\n\n"])
    assert [strings.feed(text) for text in ("a E", "N", "x E", "\n", "b", "EN", "D c", "END")] == \
        ["a ", "", "ENx ", "E", "\nb", "", "", ""]  # fmt: skip
    assert strings.found and strings.flush() == ""
    strings = StopStrings(["END"])
    assert (strings.feed("at the EN"), strings.flush(), strings.found) == ("at the ", "EN", False)
    assert StopStrings(["aab"]).feed("xaaab") == "xa"


def test_any_pieces_give_the_text_before_the_first_stop_string() -> None:
    rng = random.Random(1)
    stopped = 0
    for _ in range(3000):
        text = "".join(rng.choices("abc", k=rng.randrange(12)))
        stop = "".join(rng.choices("abc", k=rng.randrange(1, 4)))
        strings = StopStrings([stop])
        seen = "".join(strings.feed(piece) for piece in pieces(text, rng)) + strings.flush()
        assert (seen, strings.found) == (text.partition(stop)[0], stop in text), (text, stop)
        stopped += strings.found
    assert stopped > 500


def event(finish: str | None = None, **delta: str) -> bytes:
    body = {"choices": [{"delta": delta, "finish_reason": finish}]} | ({"usage": {"total_tokens": 9}} if finish else {})
    return b"data: " + json.dumps(body).encode() + b"\n\n"


def test_a_stream_cut_anywhere_in_its_bytes() -> None:
    data = event(role="assistant") + event(content="Yes, é") + event(content=" E") + event(content="ND") + \
        event(content=" no") + event("length")  # fmt: skip
    for stop, text, reason in (("END", "Yes, é ", "stop"), ("ENDS", "Yes, é END no", "length"),
                               (" nobody", "Yes, é END no", "length")):  # fmt: skip
        for size in (1, 7, len(data)):
            events = Events([stop])
            out = b"".join(events.feed(data[place : place + size]) for place in range(0, len(data), size))
            bodies = [json.loads(line.removeprefix("data: ")) for line in out.decode().split("\n\n") if line]
            choices = [body["choices"][0] for body in bodies]
            assert choices[0]["delta"] == {"role": "assistant"}
            assert "".join(choice["delta"].get("content", "") for choice in choices) == text
            assert [choice.get("finish_reason") for choice in choices] == [None] * (len(choices) - 1) + [reason]
            assert ["usage" in body for body in bodies] == [False] * (len(bodies) - 1) + [True]


def test_a_whole_answer() -> None:
    body = json.dumps({"choices": [{"text": "one two three", "finish_reason": "length"}]}).encode()
    assert json.loads(cut(body, [" th", " two"]))["choices"] == [{"text": "one", "finish_reason": "stop"}]
    assert json.loads(cut(body, ["four", "e!"]))["choices"] == json.loads(body)["choices"]
