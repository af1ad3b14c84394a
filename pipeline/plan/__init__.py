"""Plans: rows with their values before and after, made from a file or from a run to be undone.

Verification is here too: what a run applied is read again and compared.

Not here: sending. A plan is a file that `run` sends like any other.
"""

from pipeline.plan.make import MadePlan, make_plan
from pipeline.plan.plan_summary import PlanSummary
from pipeline.plan.undo import undo_plan
from pipeline.plan.verify import Drift, Verified, verify_run

__all__ = ["Drift", "MadePlan", "PlanSummary", "Verified", "make_plan", "undo_plan", "verify_run"]
