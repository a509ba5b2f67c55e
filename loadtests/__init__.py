"""Black-box load over HTTP: users, arrivals, service levels. Imports nothing of ours."""
