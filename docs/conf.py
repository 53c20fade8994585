"""The documentation's site: `make docs` builds it. sphinx-doc.org says what each name here is.

The whole repository is the source, so that links between pages mean the same here and on a code host.
"""

from __future__ import annotations

import sys
from pathlib import Path

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE.parent), str(HERE)]

from corral import __version__  # noqa: E402
from corral.launch.quiet import import_keras  # noqa: E402

import_keras()  # what autodoc would import, without what TensorFlow has to say about it

project = "Corral"
author = "the Corral authors"
release = version = __version__

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "generated"]
root_doc = "docs/index"
source_suffix = {".md": "markdown"}
include_patterns = ["*.md", "docs/**", "benchmarks/*.md", "clients/js/README.md", "tests/conformance/README.md"]
exclude_patterns = [".venv", "**/node_modules", "runs", "peers", "site", "build", "dist"]

html_theme = "furo"
html_title = "Corral"
html_static_path = ["static"]
html_css_files = ["site.css"]
html_extra_path = ["static/index.html"]  # pages have the repository's paths: this leads to the first of them
html_copy_source = False
smartquotes = False  # "--set" is no dash
html_show_copyright = False
html_show_sphinx = False
pygments_style = "friendly"
pygments_dark_style = "github-dark"

myst_heading_anchors = 4
myst_enable_extensions = ["attrs_block"]
# Python names are code here, and no links: whether one is unique does not matter.
suppress_warnings = ["ref.python"]

default_role = "code"  # docstrings are written as Markdown: `name` is code
autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_preserve_defaults = True
autodoc_class_signature = "mixed"
maximum_signature_line_length = 90
toc_object_entries_show_parents = "hide"
napoleon_use_ivar = True
napoleon_use_rtype = False
