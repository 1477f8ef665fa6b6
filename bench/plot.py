"""The style that all plots share."""

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
