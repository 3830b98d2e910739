# cmake -D FOLDER=... -P write_random_cifar10.cmake: data files in CIFAR-10's binary format with a few images of random pixels, labels 1 to 9.
# They are smaller than the published files, so read them with CifarOptions{.any_size = true}.
file(MAKE_DIRECTORY "${FOLDER}")
foreach(file data_batch_1 data_batch_2 data_batch_3 data_batch_4 data_batch_5 test_batch)
  set(bytes "")
  string(RANDOM LENGTH 3072 ALPHABET "abcdefghijklmnopqrstuvwxyz ABCDEFGHIJKLMNOPQRSTUVWXYZ" pixels)
  foreach(label RANGE 1 9)  # control characters 1 to 9 are labels; CMake's strings cannot hold 0
    string(ASCII ${label} byte)
    string(APPEND bytes "${byte}${pixels}")
  endforeach()
  file(WRITE "${FOLDER}/${file}.bin" "${bytes}")
endforeach()
