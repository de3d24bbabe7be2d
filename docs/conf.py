"""Sphinx configuration: Markdown pages with the furo theme. Build with `make docs`."""

project = "uniclip"
author = "The uniclip maintainers"
extensions = ["myst_parser"]
myst_enable_extensions = ["dollarmath", "colon_fence"]
myst_heading_anchors = 3
html_theme = "furo"
html_title = "uniclip"
html_static_path: list[str] = []
exclude_patterns = ["_build"]
# the pages open offline: no fonts, badges or scripts from elsewhere
html_theme_options = {"top_of_page_buttons": []}
