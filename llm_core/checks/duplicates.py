"""What deduplication may take: the share of a source, and of the near-duplicates those that are not alike.

The stage `dedup` holds itself to these bounds before it hands anything on, so they act under DVC
alone as well; Dagster shows the same verdict as a blocking check. Documents that a tombstone
names do not count: they are meant to leave.
"""

from collections.abc import Mapping
from typing import Any

from llm_core.checks import Verdict
from llm_core.params.deduplication import Deduplication


def dropped_shares(metrics: Mapping[str, Any]) -> dict[str, float]:
    """Share of each source's documents that deduplication dropped, takedowns apart; from its metrics.json."""
    return {
        source: (row["documents_dropped"] - row["dropped_by_reason"].get("takedown", 0)) / row["documents_in"]
        for source, row in metrics["by_source"].items()
    }


def duplicate_bounds(metrics: Mapping[str, Any], params: Deduplication) -> Verdict:
    """No source loses more than its allowed share, and the audit found few enough false positives."""
    shares = dropped_shares(metrics)
    figures: dict[str, Any] = {f"dropped {source}": round(share, 4) for source, share in shares.items()}
    found, alike = [], False
    for source, share in shares.items():
        named = source in params.max_dropped_share_by_source
        most = params.max_dropped_share_by_source.get(source, params.max_dropped_share)
        if share > most:
            reasons = metrics["by_source"][source]["dropped_by_reason"]
            worst = max(reasons, key=lambda reason: reasons[reason])
            knob = "max_dropped_share_by_source" if named else "max_dropped_share"
            alike |= worst != "exact_duplicate"
            found.append(f"{source} loses {share:.1%} of its documents, most as {worst}; {knob} is {most:.1%}")
    audit = metrics.get("audit")
    if audit:
        rate = audit["false_positive_rate"]
        figures["false positive rate"] = round(rate, 4)
        if rate > params.max_false_positive_rate:
            alike = True
            found.append(
                f"{audit['false_positives']} of {audit['audited']} audited near-duplicates are less alike than "
                f"{params.threshold:g} with what was kept; max_false_positive_rate is "
                f"{params.max_false_positive_rate:.1%}"
            )
    if found:
        return Verdict(
            False,
            f"deduplication: {'; '.join(found)}: read the ledger, then give the source other documents, "
            f"{'raise deduplication.threshold, ' if alike else ''}or allow more (max_dropped_share_by_source)",
            figures,
        )
    return Verdict(True, ", ".join(f"{source} loses {share:.1%}" for source, share in shares.items()), figures)
