"""How good a model is: tables, figures, the report."""
