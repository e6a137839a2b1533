"""Data for every method without a hub: built from the World Factbook's fields.

The unit of the split is the country. Test countries are those that `split` held out of
pretraining completely (none of their documents is among the training documents), so that the model
cannot have read the right answer. Where `split` held out single documents and no whole country, countries are
drawn by a hash and `countries_unseen_in_pretraining` in metrics.json is 0.

Two kinds of question: `closed` asks from memory, `open` gives some of the country's fields as
context first, which a small model can learn to read. Wrong answers of the preference data are
other countries' answers to the same question, which are plausible.
"""

import html
import random
import re
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from llm_core.errors import UserError
from llm_core.formats.documents import read_documents
from llm_core.formats.schema import read_metadata
from llm_core.runtime.digests import short_hash

Row = dict[str, Any]
Split = dict[str, list[Row]]  # train, heldout, test

# field of the Factbook -> (name in an open question's context, the question)
QUESTIONS: dict[str, tuple[str, str]] = {
    "Capital - name": ("Capital", "What is the capital of {country}?"),
    "Government type": ("Government", "What type of government does {country} have?"),
    "Map references": ("Region", "In which region of the world is {country}?"),
    "Nationality - adjective": ("Adjective", "What is the adjective for something from {country}?"),
    "Nationality - noun": ("People", "What are the people of {country} called?"),
    "Legislative branch - legislative structure": (
        "Legislature",
        "How many chambers has the legislature of {country}?",
    ),
    "Citizenship - dual citizenship recognized": ("Dual citizenship", "Does {country} recognize dual citizenship?"),
    "Citizenship - citizenship by birth": ("Citizenship by birth", "Does {country} grant citizenship by birth?"),
    "Suffrage": ("Suffrage", "Who may vote in {country}?"),
    "Legal system": ("Legal system", "What is the legal system of {country}?"),
    "Maritime claims - territorial sea": ("Territorial sea", "How wide is the territorial sea of {country}?"),
    "Coastline": ("Coastline", "How long is the coastline of {country}?"),
    "Area - total": ("Area", "What is the total area of {country}?"),
    "Elevation - highest point": ("Highest point", "What is the highest point of {country}?"),
    "Internet country code": ("Internet code", "What is the internet country code of {country}?"),
    "Exchange rates - Currency": ("Currency", "What is the currency of {country}?"),
    "Languages": ("Languages", "Which languages are spoken in {country}?"),
}
MAXIMUM_ANSWER = 48  # characters; longer answers are rarely matched exactly
CONTEXT_FIELDS = 4  # lines before an open question, the asked one among them
TAG = re.compile(r"<[^>]+>")
WORD = re.compile(r"\w+")
MISSING = re.compile(r"(?:n/?a|none)\b", re.I)  # of a value that is missing; Nairobi is one
CLAUSE = re.compile(r"\s*(?:\(|;|<br|\bnote\b|note:).*", re.S)


@dataclass(frozen=True)
class Facts:
    """The facts from which a method makes its default rows."""

    countries: "list[Country]"
    sides: dict[str, str]
    """Country -> train, heldout or test."""
    items: dict[str, list[Row]]
    """Country -> its questions; see `questions`."""
    seed: int
    conversations: dict[str, list[Row]] = field(default_factory=dict)
    """Country -> conversations about several of its facts; see `conversations`."""
    format: str = "auto"
    """`data.format` of the run, for a method that can make rows of several layouts."""

    def by_side(self, rows: dict[str, list[Row]]) -> Split:
        """Rows by country as rows by side, countries in alphabetical order."""
        return _sides(rows, self.sides)

    def names(self) -> dict[str, str]:
        """Name -> PLACE (a country, a capital) or PEOPLE (what its people are called), of all countries with a people.

        A name of one word that also occurs in lower case (Male, the capital of the Maldives) means too often something
        else, and is left out.
        """
        found: dict[str, str] = {}
        for country in self.countries:
            peoples = [country.answers.get(f"Nationality - {form}", "") for form in ("adjective", "noun")]
            if any(peoples):
                called = [part.strip() for people in peoples for part in people.split(",")]
                found |= dict.fromkeys([*called, *(f"{name}s" for name in called)], "PEOPLE")
        for country in self.countries:
            if any(name.startswith("Nationality") for name in country.answers):
                found |= dict.fromkeys([country.name, country.answers.get("Capital - name", "")], "PLACE")
        texts = (value for country in self.countries for values in country.sections.values() for value in values)
        common = {word for text in texts for word in WORD.findall(text) if word.islower()}
        return {
            name: kind
            for name, kind in found.items()
            if len(name) > 2 and name[0].isupper() and name.lower() not in common
        }

    def preferences(self) -> Split:
        """Rows `prompt, chosen, rejected`; see `preference`."""
        return preference(self.items, self.sides, self.seed)


@dataclass
class Country:
    """One country's short facts and section texts."""

    name: str
    answers: dict[str, str] = field(default_factory=dict)
    sections: dict[str, list[str]] = field(default_factory=dict)  # section -> its longer field values
    documents: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))  # side -> document ids
    answer_documents: dict[str, str] = field(default_factory=dict)  # field -> id of the document that contains it
    section_documents: dict[str, str] = field(default_factory=dict)
    fields: dict[str, dict[str, str]] = field(default_factory=dict)  # section -> field -> its value as plain text

    def section_of(self, name: str) -> str:
        """The section of the document that the answer to the field `name` is from."""
        document = self.answer_documents[name]
        return next(section for section, found in self.section_documents.items() if found == document)


def read_countries(split_folder: str | Path, source: str = "factbook") -> list[Country]:
    """The countries among the documents of `split_folder` (`train/` and `heldout/`), by name.

    Raises UserError where no document of `source` has the fields.
    """
    countries: dict[str, Country] = {}
    for side in ("train", "heldout"):
        for batch in read_documents(Path(split_folder) / side, ["id", "source", "metadata"]):
            for row in batch.to_pylist():
                metadata = read_metadata(row["metadata"]) if row["source"] == source else {}
                if not metadata.get("country") or not metadata.get("fields"):
                    continue
                country = countries.setdefault(metadata["country"], Country(metadata["country"]))
                country.documents[side].append(row["id"])
                _take_fields(country, row["id"], metadata["section"], metadata["fields"])
    if not countries:
        raise UserError(
            f"{split_folder}: no document of source '{source}' carries metadata 'country' and 'fields', of which "
            "default rows are made; let finetuning.runs.NAME.data.path name a file of rows of your own"
        )
    return [countries[name] for name in sorted(countries)]


def split_countries(countries: list[Country], heldout_share: float, test_share: float) -> dict[str, str]:
    """Country name -> train, heldout or test; see the module's docstring for the rule."""
    unseen = {country.name for country in countries if country.documents["heldout"] and not country.documents["train"]}
    sides = {}
    for country in countries:
        draw = int(short_hash("finetuning", country.name)[:8], 16) / 2**32
        if country.name in unseen or (not unseen and draw >= 1 - test_share):
            sides[country.name] = "test"
        else:
            sides[country.name] = "heldout" if draw < heldout_share else "train"
    return sides


def questions(countries: list[Country], open_variants: int, seed: int) -> dict[str, list[Row]]:
    """Country -> items `id, prompt, answer, field, country, kind, documents` (ids of those that it was made from).

    Each known field is asked once `closed` and `open_variants` times `open`, with varying context. A closed question
    about a country of which no document is for training has `answerable: False`: a model can only guess.
    """
    items: dict[str, list[Row]] = {}
    for country in countries:
        items[country.name] = rows = []
        for name in (name for name in QUESTIONS if name in country.answers):
            question = QUESTIONS[name][1].format(country=country.name)
            fact = {"answer": country.answers[name], "field": name, "country": country.name}
            made: Row = {"kind": "closed", "documents": _documents(country, [name])}
            if not country.documents["train"]:
                made["answerable"] = False
            rows.append({"id": short_hash(country.name, name), "prompt": question, **fact, **made})
            for variant in range(open_variants):
                key = short_hash(country.name, name, str(variant))
                shown = _shown(country, name, random.Random(f"{seed}-{key}"))
                made = {"kind": "open", "documents": _documents(country, shown)}
                rows.append({"id": key, "prompt": f"{_context(country.answers, shown)}\n{question}", **fact, **made})
    return items


def conversations(countries: list[Country], passes: int, seed: int, exchanged: float = 0.0) -> dict[str, list[Row]]:
    """Country -> items `id, turns, documents`: CONTEXT_FIELDS facts as context, and a question for each of them.

    `turns` are (prompt, answer, field); the first prompt has the context. Each known field is in one item of each pass.
    In a share of `exchanged` of the items the values are those that `Exchange` makes of all `countries`.
    """
    items: dict[str, list[Row]] = {}
    exchange = Exchange(countries)
    for country in countries:
        items[country.name] = rows = []
        known = [name for name in QUESTIONS if name in country.answers]
        for number in range(passes):
            draw = random.Random(f"{seed}-{country.name}-conversation-{number}")
            shuffled = draw.sample(known, len(known))
            for start in range(0, len(shuffled), CONTEXT_FIELDS):
                shown = shuffled[start : start + CONTEXT_FIELDS]
                asked = draw.sample(shown, len(shown))
                values, documents = country.answers, set(_documents(country, shown))
                if draw.random() < exchanged:
                    drawn = {name: exchange(name, draw) for name in shown}
                    values = {name: value for name, (value, _) in drawn.items()}
                    documents.update(*(read for _, read in drawn.values()))
                prompts = [QUESTIONS[name][1].format(country=country.name) for name in asked]
                prompts[0] = f"{_context(values, shown)}\n{prompts[0]}"
                turns = [(prompt, values[name], name) for prompt, name in zip(prompts, asked, strict=True)]
                key = short_hash(country.name, "conversation", str(number), str(start))
                rows.append({"id": key, "turns": turns, "documents": sorted(documents)})
    return items


class Exchange:
    """Values that a country could have for a field, most of which it does not have: they must be read from the context.

    The value is the answer of a country drawn from all, the asked one included. One that several countries share
    (`yes`, `Europe`) is taken as it is, so that such answers keep their shares. Any other is crossed with the answer of
    a second country drawn from all (`Oslo` and `Lisbon` to `Osbon`), and its digits 1 to 9 are drawn anew. So a value
    can be true by chance: a shared one, an answer drawn twice, or one whose crossing is one of the two (`City Chad` and
    `City Mali` to `City Mali`). (Longpre et al. 2021, arXiv:2109.05052, exchange the answers of passages.)
    """

    def __init__(self, countries: list[Country]) -> None:
        self._known: dict[str, list[tuple[str, str]]] = defaultdict(list)  # field -> answers and their documents
        for country in countries:
            for name, answer in country.answers.items():
                self._known[name].append((answer, country.answer_documents[name]))
        self._shared = {
            (name, answer)
            for name, known in self._known.items()
            for answer, count in Counter(answer for answer, _ in known).items()
            if count > 1
        }

    def __call__(self, name: str, draw: random.Random) -> tuple[str, set[str]]:
        """A value of the field `name`, and the ids of the documents that it was made of."""
        value, document = draw.choice(self._known[name])
        if (name, value) in self._shared:
            return value, {document}
        other, second = draw.choice(self._known[name])
        return re.sub(r"[1-9]", lambda _: draw.choice("123456789"), crossed(value, other)), {document, second}


def crossed(first: str, second: str) -> str:
    """The first half of `first` and the second half of `second`; figures are not cut.

    >>> crossed("Oslo", "Lisbon"), crossed("5 sq km", "40,000 sq km")
    ('Osbon', '5 sq km')
    """
    if any(text[0].isdigit() for text in (first, second)):
        return first
    return " ".join(f"{first[: (len(first) + 1) // 2]}{second[len(second) // 2 :]}".split())


def preference(items: dict[str, list[Row]], sides: dict[str, str], seed: int) -> Split:
    """Rows `prompt, chosen, rejected`: the right answer against another country's, of the same split."""
    pools: dict[tuple[str, str], dict[str, list[str]]] = defaultdict(dict)  # answer -> documents that it is from
    for country, rows in items.items():
        for row in rows:
            if row["kind"] == "closed":
                pools[sides[country], row["field"]].setdefault(row["answer"], row["documents"])
    pairs: dict[str, list[Row]] = {}
    for country, rows in items.items():
        pairs[country] = []
        for row in rows:
            pool = pools[sides[country], row["field"]]
            wrong = sorted(pool.keys() - {row["answer"]})
            if wrong:
                rejected = random.Random(f"{seed}-{row['id']}-rejected").choice(wrong)
                kept = {key: row[key] for key in ("id", "prompt", "field", "country", "kind")}
                made = sorted({*row["documents"], *pool[rejected]})
                pairs[country].append({**kept, "chosen": row["answer"], "rejected": rejected, "documents": made})
    return _sides(pairs, sides)


def most_frequent_answers(train: list[Row]) -> dict[str, str]:
    """Field -> its most frequent answer in `train`: a baseline that ignores the country."""
    counts: dict[str, Counter[str]] = defaultdict(Counter)
    for row in train:
        counts[row["field"]][row["answer"]] += 1
    return {name: min(counter, key=lambda answer: (-counter[answer], answer)) for name, counter in counts.items()}


def copied(prompt: str, similar: bool) -> str | None:
    """The value of a fact in an open question's context: a baseline that reads without having learned anything.

    It is the first fact, or (`similar`) the one whose name has most words of the question. None without context.

    >>> copied("Area: 5 sq km.\\nCapital: Oslo.\\nWhat is the capital of Norway?", similar=True)
    'Oslo'
    """
    *lines, question = prompt.splitlines()
    asked = set(WORD.findall(question.lower()))
    facts = [line.partition(": ") for line in lines]
    if similar:
        facts.sort(key=lambda fact: -len(asked & set(WORD.findall(fact[0].lower()))))
    return facts[0][2].rstrip(".") if facts else None


def plain(value: str) -> str:
    """HTML to one line of text."""
    return " ".join(html.unescape(TAG.sub(" ", value)).split())


def short_answer(value: str) -> str | None:
    """The first clause of a field's value, None where it is too long to be asked for or says that there is none."""
    answer = CLAUSE.sub("", plain(value)).rstrip(" ,.:").lstrip(" ,:")
    answer = re.sub(r" per US dollar.*", "", answer)
    return answer if 0 < len(answer) <= MAXIMUM_ANSWER and not MISSING.match(answer) else None


def _take_fields(country: Country, document: str, section: str, fields: dict[str, str]) -> None:
    values = []
    for name, value in fields.items():
        name = name.strip()
        if name in QUESTIONS and name not in country.answers and (answer := short_answer(value)):
            country.answers[name] = answer
            country.answer_documents[name] = document
        if not plain(value).startswith("note:"):
            values.append(plain(value))
    country.sections[section] = values
    country.fields[section] = {name.strip(): plain(value) for name, value in fields.items()}
    country.section_documents[section] = document


def _documents(country: Country, fields: list[str]) -> list[str]:
    return sorted({country.answer_documents[name] for name in fields})


def _context(values: dict[str, str], shown: list[str]) -> str:
    return "\n".join(f"{QUESTIONS[name][0]}: {values[name]}." for name in shown)


def _shown(country: Country, asked: str, generator: random.Random) -> list[str]:
    """The fields that an open question gives as context, the asked one among them."""
    others = [name for name in QUESTIONS if name in country.answers and name != asked]
    shown = [asked, *generator.sample(others, min(CONTEXT_FIELDS - 1, len(others)))]
    generator.shuffle(shown)
    return shown


def _sides(rows: dict[str, list[Row]], sides: dict[str, str]) -> Split:
    split: Split = {"train": [], "heldout": [], "test": []}
    for country in sorted(rows):
        split[sides[country]].extend(rows[country])
    return split
