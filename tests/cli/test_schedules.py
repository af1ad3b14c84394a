"""What `init` prints is taken by what it is for."""

from __future__ import annotations

import ast
import shutil
import subprocess
import sys
from pathlib import Path

import jsonschema
import kubernetes_validate
import pytest
import yaml

from tests.cli.command import environment, typed
from tests.workplace import configure, coupon, drop, simulator

KUBERNETES = "1.31"
FIXTURES = Path(__file__).parent.parent / "fixtures"


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


@pytest.fixture
def shop_in_database(shop: Path) -> Path:
    """Its ledger is in a database, which `init` need not reach."""
    toml = shop / "pipeline.toml"
    lines = 'ledger = "postgresql://me@db.example/x"\nledger_password = "env:LEDGER_PASSWORD"\n'
    toml.write_text(lines + toml.read_text())
    return shop


def test_kubernetes_takes_the_job_of_the_workers(shop_in_database):
    into = shop_in_database / "kubernetes"
    done = typed(shop_in_database, "init", "--kubernetes", "--workers", "3", "--into", str(into))
    assert done.code == 0, done
    job = yaml.safe_load((into / "kubernetes-workers.yaml").read_text())
    kubernetes_validate.validate(job, KUBERNETES, strict=True)
    assert job["kind"] == "Job"
    assert job["spec"]["parallelism"] == 3
    assert "completions" not in job["spec"]  # it has no end of its own
    assert job["spec"]["podFailurePolicy"]["rules"][0]["onExitCodes"]["values"] == [2]
    pod = job["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    assert container["args"][-2:] == ["worker", "--wait"]
    names = {each["name"]: each["value"] for each in container["env"]}
    assert names == {
        "PIPELINE_LEDGER_PASSWORD": "file:/secrets/ledger_password",
        "PIPELINE_ACCOUNTS__SHOP__API_KEY": "file:/secrets/shop_api_key",
    }
    secret = next(each["secret"] for each in pod["volumes"] if each["name"] == "secrets")
    assert secret["secretName"] == "offer-pipeline"
    _, begins = yaml.safe_load_all((into / "kubernetes.yaml").read_text())
    kubernetes_validate.validate(begins, KUBERNETES, strict=True)
    (sender,) = begins["spec"]["jobTemplate"]["spec"]["template"]["spec"]["containers"]
    assert sender["args"][sender["args"].index("--workers") + 1] == "0"


@pytest.mark.parametrize(
    ("kind", "line"),
    [
        ("systemd", "LoadCredential=ledger_password:{folder}/secrets/ledger_password"),
        ("systemd", "Environment=PIPELINE_LEDGER_PASSWORD=file:%d/ledger_password"),
        ("kubernetes", "generic offer-pipeline --from-file={folder}/secrets/ledger_password"),
        ("kubernetes", "value: file:/secrets/ledger_password"),
        ("ray", "value: file:/secrets/ledger_password"),
        ("dockerfile", "-e PIPELINE_LEDGER_PASSWORD=file:/secrets/ledger_password"),
    ],
)
def test_schedules_carry_the_password_of_the_database(shop_in_database, kind, line):
    assert line.format(folder=shop_in_database) in printed(shop_in_database, kind)


def test_without_a_database_there_is_no_password_of_it_and_no_worker_elsewhere(shop):
    assert "ledger_password" not in printed(shop, "kubernetes").lower()
    done = typed(shop, "init", "--kubernetes", "--workers", "3")
    assert done.code == 2
    assert "a ledger that every pod reaches" in done.words
    done = typed(shop, "init", "--cron", "--workers", "3")
    assert done.code == 2
    assert "--workers needs --kubernetes" in done.words


def test_kuberay_takes_the_job_and_kubernetes_its_pods(shop):
    job = yaml.safe_load(printed(shop, "ray"))
    schema = yaml.safe_load((FIXTURES / "rayjob-1.6.0.yaml").read_text())
    jsonschema.Draft202012Validator(schema).validate(job)
    cluster = job["spec"]["rayClusterSpec"]
    (group,) = cluster["workerGroupSpecs"]
    for number, each in enumerate([cluster["headGroupSpec"], group]):
        pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": f"p{number}"}}
        kubernetes_validate.validate({**pod, **each["template"]}, KUBERNETES, strict=True)
    words = job["spec"]["entrypoint"].split()
    assert words[words.index("--workers") + 1] == str(group["replicas"])
    assert words[words.index("--run-id") + 1] == job["metadata"]["name"]
    assert cluster["authOptions"]["mode"] == "token"


def test_a_job_that_kuberay_would_refuse_is_found(shop):
    job = yaml.safe_load(printed(shop, "ray"))
    schema = yaml.safe_load((FIXTURES / "rayjob-1.6.0.yaml").read_text())
    job["spec"]["rayClusterSpec"]["workerGroupSpecs"][0]["minReplica"] = 1
    assert not jsonschema.Draft202012Validator(schema).is_valid(job)


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
