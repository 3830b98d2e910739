# SPDX-License-Identifier: Apache-2.0
"""Writing a report: all of it or nothing."""

import os
import shutil
import tempfile
from pathlib import Path

PAGE, PICTURES = "report.html", "report_pictures"


class NotWritten(Exception):
    """Its words say where and why."""


def write(folder, page, pictures):
    """folder/report.html and folder/report_pictures/*.png; what an earlier report left there is replaced. Returns the page's path."""
    folder = Path(folder)
    made = not folder.exists()
    scratch = None
    try:
        folder.mkdir(parents=True, exist_ok=True)
        scratch = Path(tempfile.mkdtemp(prefix=".report.", dir=folder))
        (scratch / PICTURES).mkdir()
        for picture in pictures:
            for theme, content in picture.png.items():
                store(scratch / PICTURES / f"{picture.name}_{theme}.png", content)
        store(scratch / PAGE, page.encode())
        if (folder / PICTURES).is_dir():  # what is no picture of a report is somebody's own
            for other in (folder / PICTURES).iterdir():
                if not other.name.endswith(("_light.png", "_dark.png")):
                    (shutil.copytree if other.is_dir() else shutil.copy2)(other, scratch / PICTURES / other.name)
        if (folder / PICTURES).exists():
            (folder / PICTURES).rename(scratch / "earlier")
        if any((scratch / PICTURES).iterdir()):
            (scratch / PICTURES).rename(folder / PICTURES)
        os.replace(scratch / PAGE, folder / PAGE)
    except OSError as error:
        if scratch is not None and (scratch / "earlier").exists():  # the earlier pictures stay with the earlier page
            shutil.rmtree(folder / PICTURES, ignore_errors=True)
            (scratch / "earlier").rename(folder / PICTURES)
        where = error.filename or folder
        raise NotWritten(f"The report cannot be written to {folder}: {where}: {error.strerror}.") from None
    finally:
        if scratch is not None:
            shutil.rmtree(scratch, ignore_errors=True)
        if made and folder.is_dir() and not any(folder.iterdir()):
            folder.rmdir()
    return folder / PAGE


def store(path, content):
    """On the disk before it has its place: a full disk is found here."""
    with open(path, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
