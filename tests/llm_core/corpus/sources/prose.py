"""English articles for miniature corpora: no two sentences of one article share a phrase, so that they read as text."""

import random

WHO = """the harbour master|a retired engineer|our youngest teacher|the village council|an early visitor|
the night watchman|her eldest brother|a travelling merchant|the museum's curator|one careful farmer|
the new librarian|a patient doctor|the railway company|an unknown painter|the local baker|every second guest|
the chief gardener|a passing sailor|the tired accountant|an old carpenter""".replace("\n", "").split("|")
DID = """described how|finally understood that|wrote in a letter that|did not believe that|explained to everyone why|
remembered with pleasure when|told the newspaper that|had already guessed that|was surprised to learn that|
proved beyond doubt that|could not say whether|often wondered why|reported last winter that|had never doubted that|
showed with two maps how|complained for years that|announced on Monday that|admitted quite openly that|
liked to repeat that|was the first to notice that""".replace("\n", "").split("|")
WHAT = """the bridge would be closed|copper prices had doubled|migrating geese return so early|the clock tower leans|
wheat needs a dry summer|most letters arrived late|fresh bread smells best at dawn|the lighthouse lost its lamp|
old maps show another river|children learn songs quickly|the orchard survived the frost|glass bends light|
nobody had counted the boats|a good roof lasts longer|the theatre stayed empty|salt keeps fish from spoiling|
mountain roads freeze first|honey never goes bad|the archive flooded twice|small schools work well""".replace(
    "\n", ""
).split("|")
WHERE = """near the southern gate|before the first snow fell|because of a forgotten law|in almost every valley|
without much help from the state|during the long strike|since the war had ended|along the whole western coast|
behind the market hall|despite many warnings|after a single rainy week|between the two great fires|
under the reign of her father|far away from any town|at the end of that century|for reasons of money|
while the fair was open|on both sides of the border|with hardly any tools|until the ice had melted""".replace(
    "\n", ""
).split("|")


def article(seed: int, paragraphs: int = 4, sentences: int = 4) -> str:
    """So many paragraphs of so many sentences (20 in all at most); another seed gives other sentences."""
    order = random.Random(seed)
    parts = [order.sample(part, paragraphs * sentences) for part in (WHO, DID, WHAT, WHERE)]
    whole = [" ".join(words).capitalize() + "." for words in zip(*parts, strict=True)]
    return "\n".join(" ".join(whole[first : first + sentences]) for first in range(0, len(whole), sentences))


def web_page(title: str, text: str) -> bytes:
    """An HTML page as sites have them: the article among menus, related links and a footer."""
    links = "".join(f'<li><a href="/{name}">{name}</a></li>' for name in ("Home", "News", "Weather", "Archive", "Shop"))
    paragraphs = "".join(f"<p>{line}</p>" for line in text.split("\n"))
    return (
        f"<!doctype html><html><head><title>{title}</title><style>p {{ color: red }}</style></head><body>"
        f"<header><nav><ul>{links}</ul></nav></header><main><article><h1>{title}</h1>{paragraphs}</article></main>"
        f'<aside class="related"><h2>More</h2><ul>{links}</ul></aside><footer>Copyright, all rights reserved</footer>'
        "<script>var tracker = 1;</script></body></html>"
    ).encode()
