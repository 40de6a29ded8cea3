"""An attempt's row at its end, corrected later, and added up."""
