"""The ROS 2 face of gnesf_model: messages in, messages out, nothing of the map itself."""
