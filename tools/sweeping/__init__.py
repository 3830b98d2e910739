# SPDX-License-Identifier: Apache-2.0
"""The parts of tools/sweep: a TOML file becomes cells, cells become processes, their results become a table."""
