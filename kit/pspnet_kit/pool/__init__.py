"""Puts a pool of training pictures together from a list of files whose licences permit any use."""
