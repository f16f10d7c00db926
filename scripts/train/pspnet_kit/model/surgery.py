"""Placeholder until pruning is merged."""
def fit_to(model, weights):
    return None
