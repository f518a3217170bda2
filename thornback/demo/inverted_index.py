"""An inverted index of Python source files: for every word, the files that contain it.

Usage: python inverted_index.py [DIRECTORY]          (default: Python's own standard library)

One task per directory finds its work while it runs: it starts a task for every sub-directory and for every few files,
and merges what they return in a tree of further tasks. The last line of output is the result as JSON.
"""

import hashlib
import json
import os
import re
import sys
import time
from typing import NamedTuple

import thornback as ray

WORD = re.compile(r"[^\W\d]\w{2,}")
FILES_PER_TASK = 16
PARTS_PER_MERGE = 8
SKIPPED = ("__pycache__", "site-packages", "dist-packages")


class Part(NamedTuple):
    """The index of some files, and how many tasks it took."""

    words: dict[str, list[str]]
    tasks: int


@ray.remote(max_retries=10)
def index_files(root: str, paths: list[str]) -> Part:
    """Read some files, and note the words of each."""
    words: dict[str, list[str]] = {}
    for path in paths:
        with open(os.path.join(root, path), encoding="utf-8", errors="replace") as file:
            for word in dict.fromkeys(WORD.findall(file.read().lower())):
                words.setdefault(word, []).append(path)
    return Part(words, 1)


@ray.remote(max_retries=10)
def merge(*parts: Part) -> Part:
    """Put some indexes together. The arguments are references; they arrive here as values."""
    words: dict[str, list[str]] = {}
    for part in parts:
        for word, paths in part.words.items():
            words.setdefault(word, []).extend(paths)
    return Part(words, 1 + sum(part.tasks for part in parts))


def merge_all(parts: list[ray.ObjectRef[Part]]) -> ray.ObjectRef[Part]:
    """Merge a few at a time until one is left. Nothing is fetched here: the tasks wait for each other."""
    while len(parts) > 1:
        groups = [parts[start : start + PARTS_PER_MERGE] for start in range(0, len(parts), PARTS_PER_MERGE)]
        parts = [merge.remote(*group) for group in groups]
    return parts[0]


@ray.remote(max_retries=10)
def index_directory(root: str, directory: str) -> Part:
    """Index a directory, with tasks that are started here."""
    part = ray.get(merge_all(list(start_parts(root, directory).values())))
    return Part(part.words, 1 + part.tasks)


def start_parts(root: str, directory: str) -> dict[str, ray.ObjectRef[Part]]:
    """Start a task for each sub-directory and for every few files of a directory."""
    names = sorted(os.listdir(os.path.join(root, directory)))
    paths = [os.path.join(directory, name) for name in names if name not in SKIPPED]
    directories = [path for path in paths if os.path.isdir(os.path.join(root, path))]
    files = [path for path in paths if path.endswith(".py") and path not in directories]
    groups = [files[start : start + FILES_PER_TASK] for start in range(0, len(files), FILES_PER_TASK)] or [[]]
    parts = {f"{path}/": index_directory.remote(root, path) for path in directories}
    return parts | {" ".join(group[:1]): index_files.remote(root, group) for group in groups}


def main() -> None:
    """Index a directory and print what came out."""
    root = sys.argv[1] if len(sys.argv) > 1 else os.path.dirname(os.__file__)
    ray.init()
    started = time.perf_counter()
    parts = start_parts(root, "")
    names = {part: name for name, part in parts.items()}
    waiting = list(names)
    while waiting:
        [done], waiting = ray.wait(waiting, num_returns=1)
        print(f"indexed {names[done]} ({len(names) - len(waiting)} of {len(names)})", flush=True)
    index = ray.get(merge_all(list(names)))
    seconds = time.perf_counter() - started
    entries = sorted((word, sorted(paths)) for word, paths in index.words.items())
    summary = {
        "files": len({path for _, paths in entries for path in paths}),
        "words": len(entries),
        "entries": sum(len(paths) for _, paths in entries),
        "in most files": [word for word, _ in sorted(entries, key=lambda entry: -len(entry[1]))[:5]],
        "sha256": hashlib.sha256(json.dumps(entries).encode()).hexdigest(),
    }
    print(json.dumps({"result": summary, "tasks": index.tasks, "seconds": round(seconds, 3)}))
    ray.shutdown()


if __name__ == "__main__":
    main()
