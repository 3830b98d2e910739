# SPDX-License-Identifier: Apache-2.0
"""The parts of tools/report: results files become runs, runs become pictures, pictures become a page."""
