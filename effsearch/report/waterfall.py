"""Where a network's latency goes, drawn as a waterfall over its stages."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from effsearch.latency import Prediction
from searchspace import UserError

_COLOURS = {
    "measured": "#1b7f5c",
    "fitted": "#2f6fb0",
    "transferred": "#d98a1f",
    "estimated": "#b5483a",
}


def draw_waterfall(rows: Sequence[tuple[str, Prediction]], path: Path) -> None:
    """Draw one waterfall for each prediction, one below the other, on one scale in ms.

    Args:
        rows: a label and a prediction each.
        path: the picture; its suffix is the format (.png, .svg, .pdf).

    Raises:
        UserError: where the file can't be written.
    """
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt
    from matplotlib.patches import Patch

    heights = [len(p.stages()) + 1.6 for _, p in rows]
    figure, axes = plt.subplots(
        len(rows),
        1,
        figsize=(8, 0.34 * sum(heights) + 0.8),
        height_ratios=heights,
        sharex=True,
        squeeze=False,
        layout="constrained",
    )
    kinds = dict.fromkeys(kind for _, p in rows for _, _, kind in p.stages())
    for axis, (label, prediction) in zip(axes[:, 0], rows, strict=True):
        start, names = 0.0, []
        for level, (name, mean_ms, kind) in enumerate(prediction.stages()):
            axis.barh(level, mean_ms, left=start, color=_COLOURS[kind], height=0.7)
            axis.annotate(
                f"{mean_ms:.3f}",
                (start + mean_ms, level),
                xytext=(4, 0),
                textcoords="offset points",
                va="center",
                fontsize=8,
            )
            start += mean_ms
            names.append(name)
        low, high = prediction.interval_ms
        level = len(names)
        axis.errorbar(
            prediction.mean_ms,
            level,
            xerr=[[prediction.mean_ms - low], [high - prediction.mean_ms]],
            fmt="D",
            color="#222222",
            markersize=5,
            capsize=4,
        )
        axis.set_yticks(range(level + 1), [*names, "total"])
        axis.invert_yaxis()
        axis.set_title(
            f"{label} on {prediction.device}: {prediction.mean_ms:.2f} ms ({prediction.kind}; "
            f"80 % {low:.2f} to {high:.2f})",
            fontsize=10,
            loc="left",
        )
        axis.spines[["top", "right"]].set_visible(False)
        axis.grid(axis="x", alpha=0.25)
    axes[-1, 0].set_xlabel("ms")
    handles = [Patch(color=_COLOURS[kind], label=kind) for kind in kinds]
    axes[0, 0].legend(handles=handles, fontsize=8, loc="lower right", frameon=False)
    try:
        figure.savefig(path, dpi=150)
    except (OSError, ValueError) as error:
        raise UserError(f"--plot: cannot write {path}: {error}") from None
    finally:
        plt.close(figure)
