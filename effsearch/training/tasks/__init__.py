"""What networks are trained for: a module a task, behind trainer, refinement and cards."""
