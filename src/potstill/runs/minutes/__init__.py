"""Minutes as a setting: rates measured here, stages foretold, amounts chosen, a plan kept."""
