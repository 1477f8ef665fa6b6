"""The style that all plots share."""

from collections.abc import Sequence
from typing import Any

from pygal import Config
from pygal.style import Style

COLORS = ("#4c72b0", "#dd8452", "#55a868", "#c44e52", "#8172b3", "#937860", "#da8bc3", "#8c8c8c")


def config(title: str, **more: Any) -> Config:
    """A chart's configuration. The image loads nothing from elsewhere and needs no mouse."""
    style = Style(
        background="white",
        plot_background="white",
        font_family="sans-serif",
        title_font_size=18,
        label_font_size=13,
        major_label_font_size=13,
        legend_font_size=13,
        value_font_size=12,
        colors=COLORS,
        guide_stroke_color="#dddddd",
        major_guide_stroke_color="#dddddd",
    )
    return Config(
        title=title,
        style=style,
        js=[],
        explicit_size=True,
        width=960,
        height=560,
        legend_at_bottom=True,
        **more,
    )


def bars(title: str, form: str, labels: Sequence[str]) -> Config:
    """The configuration of horizontal bars, with each value beside its bar, for example ``{:.0f} s``.

    pygal draws from below: pass the last label first.
    """
    return config(
        title,
        x_labels=labels,
        truncate_label=-1,
        print_values=True,
        print_values_position="top",
        value_formatter=lambda value: "" if value is None else form.format(value),
        show_x_labels=False,
        # pygal centers a value on the end of its bar.
        css=[
            "file://style.css",
            "file://graph.css",
            "inline:.plot text.value{text-anchor:start;transform:translate(6px,0)}",
        ],
    )
