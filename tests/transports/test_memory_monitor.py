"""Reading the memory of machines and control groups, and ending the right worker."""

from __future__ import annotations

from pathlib import Path

import pytest

import thornback as ray
from thornback.transports import memory_monitor


def test_the_machine_without_its_page_cache(tmp_path: Path) -> None:
    meminfo = tmp_path / "meminfo"
    meminfo.write_text("MemTotal: 1000 kB\nMemFree: 100 kB\nMemAvailable: 600 kB\n")
    assert memory_monitor.machine(meminfo) == (400 * 1024, 1000 * 1024)


def group(path: Path, current: int, limit: str, cache: int) -> Path:
    path.mkdir(parents=True)
    (path / "memory.current").write_text(f"{current}\n")
    (path / "memory.max").write_text(f"{limit}\n")
    (path / "memory.stat").write_text(f"anon 1\ninactive_file {cache - 50}\nactive_file 50\nshmem 7\n")
    return path


def old_group(path: Path, current: int, limit: str, cache: int) -> Path:
    path.mkdir(parents=True)
    (path / "memory.usage_in_bytes").write_text(f"{current}\n")
    (path / "memory.limit_in_bytes").write_text(f"{limit}\n")
    (path / "memory.stat").write_text(
        f"inactive_file 1\nactive_file 1\ntotal_inactive_file {cache - 50}\ntotal_active_file 50\n"
    )
    return path


def test_control_groups_count_if_they_are_tighter(tmp_path: Path) -> None:
    meminfo = tmp_path / "meminfo"
    meminfo.write_text("MemTotal: 1000 kB\nMemAvailable: 600 kB\n")
    outer, inner = group(tmp_path / "a", 900, "1000", 200), group(tmp_path / "a" / "b", 500, "max", 0)
    assert memory_monitor.control_group(inner) is None
    assert memory_monitor.control_group(outer) == (700, 1000)
    assert memory_monitor.tightest([inner, outer], meminfo) == (700, 1000)
    membership = tmp_path / "cgroup"
    membership.write_text("0::/a/b\n")
    assert memory_monitor.control_groups(tmp_path, membership) == [inner, outer, tmp_path]


def test_control_groups_of_version_one_count_without_the_page_cache_of_all_their_children(tmp_path: Path) -> None:
    unlimited = str((1 << 63) - 4096)
    outer = old_group(tmp_path / "memory" / "a", 900, "1000", 300)
    inner = old_group(tmp_path / "memory" / "a" / "b", 500, unlimited, 60)
    assert memory_monitor.control_group(outer) == (600, 1000)
    assert memory_monitor.control_group(inner) is None, "a limit beyond all memory is none"
    membership = tmp_path / "cgroup"
    membership.write_text("12:cpu,cpuacct:/x\n9:memory:/a/b\n0::/ignored\n")
    groups = memory_monitor.control_groups(tmp_path, membership)
    assert groups[:3] == [inner, outer, tmp_path / "memory"]


def test_control_groups_that_cannot_be_read_do_not_count(tmp_path: Path) -> None:
    broken = tmp_path / "broken"
    broken.mkdir()
    (broken / "memory.max").write_text("1000\n")
    assert memory_monitor.control_group(broken) is None
    assert memory_monitor.control_groups(tmp_path, tmp_path / "nothing") == []


def test_a_task_is_ended_and_named_when_memory_is_short() -> None:
    ray.shutdown()
    ray.init(num_cpus=1, log_to_driver=False, _system_config={"memory_threshold": 0.0001})

    @ray.remote(max_retries=0)
    def hog() -> int:
        import time

        block = b"x" * (64 << 20)
        time.sleep(20)
        return len(block)

    try:
        with pytest.raises(ray.exceptions.OutOfMemoryError, match=r"hog \(pid \d+\) used [\d,]+ MiB"):
            ray.get(hog.remote(), timeout=30)
    finally:
        ray.shutdown()
