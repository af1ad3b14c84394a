"""Plans: rows with before and after, made of a file or of a run that is to be taken back."""

from pipeline.plan.make import MadePlan, make_plan
from pipeline.plan.plan_summary import PlanSummary
from pipeline.plan.undo import undo_plan
from pipeline.plan.verify import Drift, Verified, verify_run

__all__ = ["Drift", "MadePlan", "PlanSummary", "Verified", "make_plan", "undo_plan", "verify_run"]
