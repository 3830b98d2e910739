# SPDX-License-Identifier: Apache-2.0
"""What MkDocs does otherwise for this site: anchors as on GitHub."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from documenting.markdown import slug  # noqa: E402


def on_config(config):
    config["mdx_configs"].setdefault("toc", {})["slugify"] = slug
    return config
