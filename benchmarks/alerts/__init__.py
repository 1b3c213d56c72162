"""Each alert of deploy/prometheus seen firing, live: a real Prometheus, a real worker, and one fault an alert."""
