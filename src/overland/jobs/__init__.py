"""Import jobs, drives and seeds: pure tables of states, and their stored form."""
