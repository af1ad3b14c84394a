"""What `init` prints is taken by what it is for."""

from __future__ import annotations

import ast
import shutil
import subprocess
import sys
from pathlib import Path

import kubernetes_validate
import pytest
import yaml

from tests.cli.command import environment, typed
from tests.workplace import configure, coupon, drop, simulator

KUBERNETES = "1.31"


@pytest.fixture(scope="module")
def vendor():
    with simulator() as running:
        yield running


@pytest.fixture
def shop(tmp_path: Path, vendor) -> Path:
    configure(tmp_path, vendor.base_url)
    drop(tmp_path, coupon(1), name="nightly.csv")
    (tmp_path / "reports").mkdir()
    return tmp_path


def printed(folder: Path, kind: str) -> str:
    done = typed(folder, "init", f"--{kind}", "--file", "inputs/xsolla.coupon/nightly.csv")
    assert done.code == 0, done
    return done.out


def test_the_line_of_cron_runs_and_runs_again_sends_nothing(shop, vendor):
    (line,) = [each for each in printed(shop, "cron").splitlines() if not each.startswith("#")]
    minute, hour, *days, command = line.split(" ", 5)
    assert (minute, hour, days) == ("30", "2", ["*", "*", "*"])
    command = command.replace(r"\%", "%")  # as cron does
    before = vendor.stats()["requests"]
    for _ in range(2):
        done = subprocess.run(
            ["/bin/sh", "-c", command.replace("06:30+00:00", "23:59+00:00")],
            env=environment(PATH=f"{Path(sys.executable).parent}:/usr/bin:/bin"),
            check=False,
        )
        assert done.returncode == 0, (shop / "reports" / "nightly.log").read_text()
    assert vendor.stats()["requests"] - before == 1
    assert "run_ended" in (shop / "reports" / "nightly.log").read_text()
    assert (shop / "reports" / "metrics.prom").exists()


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="no systemd-analyze here")
def test_systemd_takes_the_units(shop, tmp_path):
    units = tmp_path / "units"
    assert typed(shop, "init", "--systemd", "--into", str(units)).code == 0
    command = ["systemd-analyze", "verify", *map(str, sorted(units.iterdir()))]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    ours = [line for line in done.stderr.splitlines() if "offer-pipeline" in line]
    assert ours == []
    service = (units / "offer-pipeline.service").read_text()
    assert "Restart=no" in service
    assert "TimeoutStopSec=60" in service  # above the grace
    assert "NoNewPrivileges=yes" in service


def test_kubernetes_takes_the_manifest(shop):
    claim, job = yaml.safe_load_all(printed(shop, "kubernetes"))
    for each in (claim, job):
        kubernetes_validate.validate(each, KUBERNETES, strict=True)
    spec = job["spec"]["jobTemplate"]["spec"]
    pod = spec["template"]["spec"]
    (container,) = pod["containers"]
    assert job["spec"]["concurrencyPolicy"] == "Forbid"
    assert pod["restartPolicy"] == "Never"
    assert spec["podFailurePolicy"]["rules"][0]["onExitCodes"]["values"] == [1, 2, 3]
    assert pod["terminationGracePeriodSeconds"] > 20
    assert pod["securityContext"]["runAsNonRoot"]
    assert container["securityContext"]["readOnlyRootFilesystem"]
    assert "--run-id" in container["args"]
    assert {"/app/.pipeline", "/app/reports", "/secrets"} <= {
        mount["mountPath"] for mount in container["volumeMounts"]
    }


def test_the_file_for_airflow_is_python_and_starts_the_command_of_this_folder(shop):
    tree = ast.parse(printed(shop, "airflow"))
    texts = {node.value for node in ast.walk(tree) if isinstance(node, ast.Constant)}
    assert {"--until", "30 2 * * *", str(shop), sys.executable} <= texts


def test_the_container_runs_as_nobody_in_particular(shop):
    text = printed(shop, "dockerfile")
    assert "USER 10001:10001" in text
    assert "--read-only" in text
    assert "STOPSIGNAL SIGTERM" in text


def test_a_path_that_no_schedule_can_hold_is_told(tmp_path):
    folder = tmp_path / "with space"
    folder.mkdir()
    configure(folder, "http://127.0.0.1:9")
    done = typed(folder, "init", "--cron")
    assert done.code == 2
    assert "a schedule needs a path" in done.words
