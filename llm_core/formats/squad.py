"""SQuAD's file: articles with paragraphs, each a context with questions, as one flat row for each question."""

from collections.abc import Iterator
from typing import Any

Row = dict[str, Any]


def is_article_file(found: Any) -> bool:
    """Whether a JSON value is SQuAD's file: `data`, a list of articles with paragraphs."""
    articles = found.get("data") if isinstance(found, dict) else None
    return (
        isinstance(articles, list)
        and bool(articles)
        and all(isinstance(article, dict) and isinstance(article.get("paragraphs"), list) for article in articles)
    )


def flatten(found: Row) -> Iterator[Row]:
    """A flat row for each question of SQuAD's file; `__error__` where a paragraph has no `context` or no `qas`."""
    for article in found["data"]:
        for paragraph in article["paragraphs"]:
            if not isinstance(paragraph, dict) or not isinstance(paragraph.get("qas"), list):
                yield {"__error__": "a paragraph has no list 'qas'"}
                continue
            for asked in paragraph["qas"]:
                if isinstance(asked, dict):
                    yield {"context": paragraph.get("context"), **asked}
                else:
                    yield {"__error__": "an entry of 'qas' is no object"}
