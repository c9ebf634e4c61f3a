/* pause: the first process of a pod. It does nothing, collects children that others left, and ends when told to. */
#include <signal.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

static void collect(int number)
{
	(void)number;
	while (waitpid(-1, NULL, WNOHANG) > 0)
		;
}

static void end(int number)
{
	(void)number;
	_exit(0);
}

int main(void)
{
	struct sigaction child = {.sa_handler = collect, .sa_flags = SA_NOCLDSTOP};
	struct sigaction told = {.sa_handler = end};

	if (sigaction(SIGCHLD, &child, NULL) || sigaction(SIGTERM, &told, NULL) || sigaction(SIGINT, &told, NULL))
		return EXIT_FAILURE;
	for (;;)
		pause();
}
