"""What measures the watch on simulated worlds: worlds made and searched, truth, and figures."""
