"""What sampling needs of a network, and no more: a tenth of x."""


class Network:
    """What is needed of a network."""

    def __call__(self, inputs, training):
        return 0.1 * inputs[0]

    def get_weights(self):
        return []
