"""Conversations in, checkpoint out."""
