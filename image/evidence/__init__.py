"""What is said of an image beside the image: what is in it, under which licences, with which known weaknesses, and that it can be made again."""
