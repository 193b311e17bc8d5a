"""How well the codec keeps the activations of each site."""

from collections.abc import Sequence

import altair as alt

from losa.pipelines.report.charts.vega import Spec, by_kind, named_data, specification
from losa.pipelines.report.used_caches import UsedCache


def noise_chart(caches: Sequence[UsedCache]) -> Spec | None:
    """Signal-to-noise ratio of the sites of some caches; None if none of them rounds."""
    rows = [
        {"kind": cache.name, "site": site, "snr": round(ratio, 2)}
        for cache in caches
        for site, ratio in cache.noise.items()
        if ratio is not None
    ]
    if not rows:
        return None
    colour, shape = by_kind(list(dict.fromkeys(cache.name for cache in caches)))
    sites = list(dict.fromkeys(site for cache in caches for site in cache.noise))
    chart = alt.Chart(named_data()).encode(
        x=alt.X("site:N", sort=sites, title=None, axis=alt.Axis(labelAngle=-45)),
        y=alt.Y("snr:Q", title="signal-to-noise ratio, dB", scale=alt.Scale(zero=False, padding=12)),
        color=colour,
        tooltip=[
            alt.Tooltip("kind:N", title="cache"),
            "site:N",
            alt.Tooltip("snr:Q", title="dB", format=".1f"),
        ],
    )
    layers = alt.layer(
        chart.mark_line(opacity=0.5), chart.mark_point(size=60, filled=True, opacity=1).encode(shape=shape)
    )
    return specification(layers, rows, height=240)
