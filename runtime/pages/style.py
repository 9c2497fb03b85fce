"""How pages, and what is shown in notebooks, look.

Text has the colour of whatever is around it or leans to it, fills are transparent and strokes of middle brightness: so the
same picture can be read on light and on dark ground, also where only the notebook knows which of both it is. All rules hold
below the class ``blockfuse`` alone, and nothing has an id: several outputs on one page do not meet.
"""

PICTURE = """
.blockfuse svg text, svg.blockfuse text { font: 11px ui-monospace, 'DejaVu Sans Mono', Menlo, Consolas, monospace;
  fill: currentColor; fill-opacity: .8 }
.blockfuse text.caption { font: 600 12px system-ui, 'DejaVu Sans', sans-serif; fill-opacity: .65 }
.blockfuse text.title { font: 600 15px system-ui, 'DejaVu Sans', sans-serif; fill-opacity: 1 }
.blockfuse text.name { font-weight: 700; fill-opacity: 1 }
.blockfuse text.given { fill: #a98512; fill: color-mix(in srgb, #a98512 72%, currentColor); fill-opacity: 1 }
.blockfuse text.source { fill-opacity: .6 }
.blockfuse rect { stroke-width: 1.2; fill: rgba(128, 136, 155, .07); stroke: #8d96a8 }
.blockfuse rect.argument { fill: rgba(64, 160, 105, .16); stroke: #4fa574 }
.blockfuse rect.result, .blockfuse rect.decision { fill: rgba(222, 140, 60, .16); stroke: #cf8a46 }
.blockfuse rect.decision { stroke-width: 2 }
.blockfuse rect.kernel { fill: rgba(70, 120, 225, .16); stroke: #5a86dd }
.blockfuse rect.part { fill: rgba(140, 100, 210, .13); stroke: #9276cf }
.blockfuse rect.frame { fill: none; stroke-dasharray: 3 3; stroke-opacity: .6 }
.blockfuse path { fill: none; stroke: #8d96a8; stroke-width: 1.3 }
.blockfuse path.wide { stroke: transparent; stroke-width: 9 }
.blockfuse path.tip { fill: #8d96a8; stroke: none }
.blockfuse g.jump path { stroke: #cf8a46; stroke-width: 1.6 }
.blockfuse g.back path { stroke: #b95fc4; stroke-width: 1.8 }
.blockfuse g.jump path.tip { fill: #cf8a46; stroke: none }
.blockfuse g.back path.tip { fill: #b95fc4; stroke: none }
.blockfuse g.line:hover path { stroke: #e0559a }
.blockfuse g.line:hover path.wide { stroke: rgba(224, 85, 154, .2) }
.blockfuse g.line:hover path.tip { fill: #e0559a; stroke: none }
.blockfuse rect.eager { fill: #9aa3b5; stroke: none }
.blockfuse rect.compiled { fill: #4c82e8; stroke: none }
.blockfuse rect.elsewhere { fill: #d39a4f; stroke: none }
.blockfuse path.spread { stroke: currentColor; stroke-opacity: .75; stroke-width: 1.2 }
.blockfuse path.grid { stroke-opacity: .3; stroke-width: 1 }
"""

# Cells are named by two classes and an element, as notebooks align cells to the right by rules of nearly that weight.
TEXT = """
.blockfuse { font: 14px/1.45 system-ui, 'DejaVu Sans', sans-serif; text-align: left; overflow-wrap: break-word }
.blockfuse .scroll { overflow: auto; max-width: 100%; max-height: 85vh }
.blockfuse table { border-collapse: collapse; font-size: 13px; margin: .5em 0; font-variant-numeric: tabular-nums }
.blockfuse table.cells th, .blockfuse table.cells td { padding: .25em 1.1em .25em 0; text-align: left;
  white-space: nowrap; vertical-align: top; border: 0; border-bottom: 1px solid rgba(128, 136, 155, .3); background: none }
.blockfuse table.cells th { font-weight: 600; border-bottom-color: rgba(128, 136, 155, .7) }
.blockfuse table.cells th.right, .blockfuse table.cells td.right { text-align: right }
.blockfuse table.cells td.long { white-space: normal; min-width: 14em }
.blockfuse .quiet { opacity: .7 }
.blockfuse .good { color: #2e9d5b; color: color-mix(in srgb, #2e9d5b 72%, currentColor) }
.blockfuse .bad { color: #db4a4a; color: color-mix(in srgb, #db4a4a 72%, currentColor); font-weight: 600 }
.blockfuse .warn { color: #b87a12; color: color-mix(in srgb, #b87a12 72%, currentColor) }
.blockfuse .cure { border-left: 3px solid #b87a12; padding-left: .6em; margin: .25em 0 }
.blockfuse pre { font: 12px/1.45 ui-monospace, 'DejaVu Sans Mono', Menlo, Consolas, monospace; margin: .5em 0;
  padding: .6em .8em; overflow: auto; max-height: 70vh; background: rgba(128, 136, 155, .12); color: inherit;
  border-radius: 6px; white-space: pre }
.blockfuse code { font: 12px ui-monospace, 'DejaVu Sans Mono', Menlo, Consolas, monospace; color: inherit; background: none }
.blockfuse details { margin: .3em 0 }
.blockfuse details details { margin-left: 1.1em }
.blockfuse details.net details { margin-left: 0 }
.blockfuse details.net details details { margin-left: 1.1em }
.blockfuse summary { cursor: pointer }
.blockfuse details.net summary { font-weight: 600 }
.blockfuse details.net details summary { font-weight: 400 }
.blockfuse ul { margin: .2em 0 .2em 1.2em; padding: 0 }
.blockfuse li.plain { list-style: none }
.blockfuse figure { margin: .6em 0; min-width: 0; max-width: 100%; flex: 0 1 auto }
.blockfuse figcaption { font-weight: 600; margin-bottom: .3em }
.blockfuse .side { display: flex; flex-wrap: wrap; gap: 1em 2em; align-items: flex-start }
.blockfuse svg { display: block }
.blockfuse label.fit { font-size: 12px; opacity: .8; cursor: pointer }
.blockfuse input.fit:checked ~ .scroll svg { width: 100%; height: auto }
"""

PAGE = """
:root { color-scheme: light dark }
body { margin: 0; background: #fcfcfd; color: #1c2333 }
main.blockfuse { max-width: 1500px; margin: 0 auto; padding: 1em 1.2em 4em }
.blockfuse h1 { font-size: 22px; margin: .4em 0 .2em }
.blockfuse details.net { margin: 0; padding: .8em 0; border-top: 1px solid rgba(128, 136, 155, .3) }
@media (prefers-color-scheme: dark) { body { background: #14171d; color: #e3e7ef } }
@media (max-width: 600px) { main.blockfuse { padding: .5em .7em 3em } }
"""
