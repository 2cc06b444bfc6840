"""Pure answers from observations and posteriors: status, plan, predictions, recommendation, comparison, report."""
