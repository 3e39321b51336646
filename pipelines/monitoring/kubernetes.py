"""The alert rules as Kubernetes' Prometheus operator wants them.

    python -m pipelines.monitoring.kubernetes     writes triton/kubernetes/monitoring

The rules are a copy of triton/monitoring/rules.yaml; a test holds it against that.
"""

from pathlib import Path

from data_prep.paths import ROOT
from pipelines.monitoring.rules import RULES
from pipelines.repository.versions import write_text

TARGET = ROOT / "triton" / "kubernetes" / "monitoring" / "rules.yaml"
HEAD = """\
# Made from triton/monitoring/rules.yaml by python -m pipelines.monitoring.kubernetes:
# change that file, and run this again.
apiVersion: monitoring.coreos.com/v1
kind: PrometheusRule
metadata:
  name: asl-triton
  labels: {release: prometheus} # by which kube-prometheus-stack's operator finds it
spec:
"""


def render(rules: Path = RULES) -> str:
    """Put the groups of the rules into a PrometheusRule, as text."""
    lines = rules.read_text(encoding="utf-8").splitlines()
    groups = lines[lines.index("groups:") :]
    return HEAD + "".join(f"  {line}".rstrip() + "\n" for line in groups)


if __name__ == "__main__":
    write_text(TARGET, render())
