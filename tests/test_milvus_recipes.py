"""docs/milvus and docs/milvus.md: files that parse, name what they need, and a table as the script computes it."""

import re
import runpy
from pathlib import Path

import yaml

ROOT = Path(__file__).parents[1]
RECIPES = ROOT / "docs" / "milvus"


def test_the_compose_file_waits_for_what_it_needs_and_opens_no_port_to_others():
    services = yaml.safe_load((RECIPES / "compose.yaml").read_text())["services"]
    assert set(services) == {"etcd", "minio", "milvus"}
    assert set(services["milvus"]["depends_on"]) == {"etcd", "minio"}
    for name, one in services.items():
        assert ":" in one["image"] and not one["image"].endswith("latest"), name
        assert "healthcheck" in one and one["volumes"], name
        assert all(port.startswith("127.0.0.1:") for port in one.get("ports", [])), name
    secrets = [value for one in services.values() for key, value in one.get("environment", {}).items()
               if re.search("PASSWORD|SECRET", key)]  # fmt: skip
    assert secrets and all(value.startswith("${") for value in secrets)


def test_the_helm_values_have_the_memory_that_the_sizing_says():
    values = yaml.safe_load((RECIPES / "values.yaml").read_text())
    compose = yaml.safe_load((RECIPES / "compose.yaml").read_text())
    image = values["image"]["all"]
    assert f"{image['repository']}:{image['tag']}" == compose["services"]["milvus"]["image"]
    assert yaml.safe_load(values["extraConfigFiles"]["user.yaml"])["common"]["security"]["authorizationEnabled"] is True
    sizing = runpy.run_path(str(ROOT / "eval" / "benchmarks" / "milvus_sizing.py"))
    ten = sizing["sizes"](sizing["COUNTS"]["10 M"], 512, "HNSW32", 200)
    assert values["queryNode"]["replicas"] == ten["nodes_of_32"]
    assert values["queryNode"]["resources"]["limits"]["memory"] == "32Gi"


def test_the_table_of_sizes_is_what_the_script_computes():
    sizing = runpy.run_path(str(ROOT / "eval" / "benchmarks" / "milvus_sizing.py"))
    text = (ROOT / "docs" / "milvus.md").read_text()
    for factory in ("HNSW32", "IVF65536,SQ8"):
        for name, count in sizing["COUNTS"].items():
            assert sizing["row"](name, factory, sizing["sizes"](count, 512, factory, 200)) in text


def test_every_test_that_the_table_of_differences_names_is_there():
    named = set(re.findall(r"`(test_\w+)`", (ROOT / "docs" / "milvus.md").read_text()))
    there = (ROOT / "tests" / "search" / "milvus" / "test_backend.py").read_text()
    assert len(named) >= 7 and not [name for name in named if f"def {name}(" not in there]
