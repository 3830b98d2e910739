# SPDX-License-Identifier: Apache-2.0


class Refusal(Exception):
    """Why nothing is run, in a sentence."""
