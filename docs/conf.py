"""How the documentation is built: `nox -s docs`."""

from __future__ import annotations

import smtpverify

project = "smtpverify"
author = "The smtpverify developers"
copyright = "the smtpverify developers"
version = release = smtpverify.__version__

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
myst_enable_extensions = ["colon_fence", "deflist"]
myst_heading_anchors = 3
html_theme = "furo"
html_title = f"smtpverify {version}"

# Docstrings are written for reading as they stand, with single backticks for code.
default_role = "code"
autodoc_typehints = "none"
autodoc_member_order = "bysource"
napoleon_google_docstring = True
napoleon_numpy_docstring = False
napoleon_use_param = False
# One line may speak of several attributes or exceptions.
napoleon_custom_sections = [("Attributes", "params_style"), ("Raises", "params_style")]
