"""Plans, verification and undo.

A plan is a file of rows with the state before and after each, made from an input file or from a
run to undo.
"""

from pipeline.plan.make import MadePlan, make_plan
from pipeline.plan.plan_summary import PlanSummary
from pipeline.plan.undo import undo_plan
from pipeline.plan.verify import Drift, Verified, verify_run

__all__ = ["Drift", "MadePlan", "PlanSummary", "Verified", "make_plan", "undo_plan", "verify_run"]
